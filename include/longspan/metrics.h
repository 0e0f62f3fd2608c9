// Measures of predictions: classes, rankings, answers, entities, numbers.
//
// All are pure functions of what is given: no file, no thread, no state. Counts are integers, and
// sums are compensated and run in the given order, so equal arguments give equal bits. Results are
// shares from 0 to 1 unless a comment says otherwise. docs/reference/metrics.md has each formula,
// its source and its edge cases. Errors: kUsage for arguments whose sizes do not fit or that are
// out of range, kNumeric for scores that are NaN.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

#pragma GCC visibility push(default)
namespace longspan {

// ---- classes ------------------------------------------------------------------------------------

// How well one label is found.
struct ClassScore {
  std::string name;                                // of the label
  double precision = 0.0, recall = 0.0, f1 = 0.0;  // 0 if the denominator is 0
  idx_t support = 0, predicted = 0;                // rows with the label; rows predicted so
  idx_t hits = 0;                                  // rows with the label that are predicted so
};

// [low, high] that holds the true share with 95 % confidence when `hits` of `trials` hit (Wilson
// 1927).
struct ShareInterval {
  double low = 0.0, high = 1.0;  // its ends
};
ShareInterval WilsonInterval(idx_t hits, idx_t trials);

namespace metrics {

// Precision, recall and F1 of each class. `truth` and `predicted` are (N, K), 1 where the row has
// the label and 0 elsewhere; `names`: K. kUsage for other sizes.
std::vector<ClassScore> ScoreClasses(const std::vector<std::string>& names,
                                     std::span<const std::uint8_t> truth,
                                     std::span<const std::uint8_t> predicted);

// How the scores of classes become one.
enum class Average {
  kMacro,     // the mean over the classes that occur or are predicted
  kMicro,     // of the sums of hits, predictions and occurrences
  kWeighted,  // the mean, each class weighted by its occurrences
};

// Precision, recall and F1 of all classes; 0 if the denominator is 0. F1 is averaged itself, it is
// not the harmonic mean of the other two.
struct AverageScore {
  double precision = 0.0, recall = 0.0, f1 = 0.0;  // each averaged itself
};
AverageScore AverageOf(std::span<const ClassScore> classes, Average average);

// The share of equal elements; NaN if there are none. kUsage for two lengths.
double Accuracy(std::span<const std::int32_t> truth, std::span<const std::int32_t> predicted);

// Matthews' correlation of true and predicted classes, from -1 to 1, for two classes or more
// (Gorodkin's R_K). `classes` counts rows that have one class and get one. 0 if all rows have one
// class or get one.
double MatthewsCorrelation(std::span<const ClassScore> classes);

// The area under the ROC curve: the probability that a row that has the label scores above one that
// does not, where a tie counts a half. `truth`: (N), 1 or 0. NaN if all rows have the label, or
// none.
double RocAuc(std::span<const std::uint8_t> truth, std::span<const double> scores);
// The mean of precision over the steps of recall, from the highest score down; rows of one score
// are one step. 0 if no row has the label.
double AveragePrecision(std::span<const std::uint8_t> truth, std::span<const double> scores);
// The means over K labels, each against the rest; `truth` and `scores` are (N, K). The area is NaN
// if that of one label is. The precision is the mean over the labels that some row has, 0 if there
// is none: scikit-learn counts the others as 0.
double MacroRocAuc(std::span<const std::uint8_t> truth, std::span<const double> scores,
                   idx_t labels);
double MacroAveragePrecision(std::span<const std::uint8_t> truth, std::span<const double> scores,
                             idx_t labels);

// ---- numbers ------------------------------------------------------------------------------------

// Pearson's correlation, from -1 to 1. NaN if one side is constant or has a value that is not
// finite, and for fewer than two pairs. kUsage for two lengths.
double Pearson(std::span<const double> a, std::span<const double> b);
double Pearson(std::span<const float> a, std::span<const float> b);
// Spearman's correlation: Pearson's of the ranks (MeanRanks). NaN as Pearson.
double Spearman(std::span<const double> a, std::span<const double> b);
double Spearman(std::span<const float> a, std::span<const float> b);
// The ranks of values, 1 for the smallest. Equal values get the mean of their ranks. kNumeric for
// NaN.
std::vector<double> MeanRanks(std::span<const double> values);
// The mean of (a - b)^2; NaN if there are none. kUsage for two lengths.
double MeanSquaredError(std::span<const float> a, std::span<const float> b);

// ---- rankings -----------------------------------------------------------------------------------

// What a search found for one query.
struct RankedQuery {
  // The gain of each document that was found, best first: 0 if it is not relevant, else how much,
  // above 0 and finite.
  std::vector<double> found;
  // The gains of all relevant documents, found or not, in any order. No fewer are relevant than
  // were found.
  std::vector<double> relevant;
};

// A query whose candidates have these scores and gains: the largest score comes first, of equal
// ones the first candidate. All relevant documents are candidates. kNumeric for a NaN score.
RankedQuery RankByScore(std::span<const double> scores, std::span<const double> gains);

// Of one query, over its first k documents (k >= 1, else kUsage); all are 0 if nothing is relevant.
// The discounted gain sum gain_i / log2(i + 1), i from 1, over that of the best possible ranking.
double Ndcg(const RankedQuery& query, idx_t k);
// 1 / the place of the first relevant document; 0 if there is none.
double ReciprocalRank(const RankedQuery& query, idx_t k);
// The share of the relevant documents that is found.
double RecallAt(const RankedQuery& query, idx_t k);
// The sum of precision at the place of each relevant document that is found, over the number of
// relevant documents.
double AveragePrecisionAt(const RankedQuery& query, idx_t k);

// The means over queries; NaN if there are none.
struct RankingScore {
  idx_t queries = 0;  // how many there are
  idx_t without = 0;  // queries without a relevant document: each counts 0
  double ndcg = 0.0, mrr = 0.0, recall = 0.0, map = 0.0;  // over the first k documents
};
RankingScore ScoreRankings(std::span<const RankedQuery> queries, idx_t k);

// ---- answers ------------------------------------------------------------------------------------

// Which rules answers are scored by.
enum class Squad {
  k1_1,  // every question has an answer
  k2_0,  // a question may have none: then nothing is the right answer
};

// An answer as SQuAD compares it: in lower case, without ASCII punctuation and without the words a,
// an and the, with single blanks between words. `answer` is UTF-8; bytes that are none become
// U+FFFD.
std::string NormalizeAnswer(std::string_view answer);

// How good an answer is.
struct AnswerScore {
  double exact = 0.0;  // 1 if it equals a right one, else 0
  double f1 = 0.0;     // of its words and those of a right one
};
// The best of an answer over all right ones, each measure for itself. By k2_0 right answers that
// normalize to nothing are left out, and without any the right answer is nothing. By k1_1 there
// must be one (kUsage).
AnswerScore ScoreAnswer(std::string_view answer, std::span<const std::string> right, Squad rules);

// The answer to one question and the right ones; none: it has no answer.
struct AnsweredQuestion {
  std::string answer;              // empty: the model says that there is none
  std::vector<std::string> right;  // in any order
};
// The means over questions, also over those with and without an answer alone. NaN if there are
// none. SQuAD's own programs print them in percent.
struct AnswersScore {
  idx_t questions = 0, answerable = 0;  // all; those that have an answer
  AnswerScore all, has_answer, no_answer;
};
AnswersScore ScoreAnswers(std::span<const AnsweredQuestion> questions, Squad rules);

// ---- entities -----------------------------------------------------------------------------------

// Tokens [begin, end) that are one entity.
struct Entity {
  std::string type;          // "PER"; "_" of tags without a type
  idx_t begin = 0, end = 0;  // tokens
};

// Whether a tag says where an entity is: "O", or B, I, E or S alone or before "-TYPE".
bool IsEntityTag(std::string_view tag);
// The entities of a sentence's tags by seqeval's default rule: B- and S- begin one, so does I- or
// E- where none of its type is open, and a change of type ends one. So IOB1, IOB2 and IOBES are
// read alike. kUsage for a tag that is none (IsEntityTag).
std::vector<Entity> FindEntities(std::span<const std::string> tags);

// Entities that are found with their exact borders and type.
struct EntityScores {
  std::vector<ClassScore> types;        // in alphabetical order (bytes)
  AverageScore micro, macro, weighted;  // over types
  idx_t support = 0, predicted = 0;     // entities in truth; entities predicted
};
// `truth` and `predicted` hold the tags of each sentence. kUsage if their sizes differ.
EntityScores ScoreEntities(std::span<const std::vector<std::string>> truth,
                           std::span<const std::vector<std::string>> predicted);

}  // namespace metrics
}  // namespace longspan
#pragma GCC visibility pop
