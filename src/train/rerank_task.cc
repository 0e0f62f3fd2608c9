#include "train/rerank_task.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/errors.h"
#include "longspan/files.h"
#include "longspan/metrics.h"
#include "train/pair_rows.h"
#include "train/row_files.h"

namespace longspan {
namespace {

constexpr idx_t kRankingDepth = 10;

class JudgedReader {
 public:
  JudgedReader(const DataOptions& options, const JudgedColumns& columns, JudgedTexts* out)
      : columns_(columns), out_(out) {
    rules_.options = options;
    for (const std::string* name :
         {&columns.query, &columns.text, &columns.label, &columns.positive, &columns.negatives}) {
      rules_.fields.push_back({*name});
    }
  }

  const data::RowRules& rules() const { return rules_; }
  std::string Fingerprint() const { return digest_.Fingerprint(); }

  void Add(const data::Row& row, bool table) {
    const std::string where = io::EscapeName(row.name);
    const bool lists = lists_.value_or(HasField(row, columns_.positive));
    const std::string query = row.Text(columns_.query);
    std::vector<std::pair<std::string, double>> texts;
    if (lists) {
      for (std::string& text : TextsOfField(row, columns_.positive, table, where)) {
        texts.emplace_back(std::move(text), 1.0);
      }
      for (std::string& text : TextsOfField(row, columns_.negatives, table, where)) {
        texts.emplace_back(std::move(text), 0.0);
      }
      Check(!texts.empty(), ErrorCode::kFormat, "{}: \"{}\" has no text", where,
            io::Escape(columns_.positive));
    } else {
      Check(HasField(row, columns_.label), ErrorCode::kFormat,
            "{}: neither \"{}\" nor \"{}\" is there; --columns names query, text and label, "
            "--list-columns query, positive and negatives",
            where, io::Escape(columns_.label), io::Escape(columns_.positive));
      const double label = ParseRowNumber(row.fields[columns_.label], table, "label", where);
      Check(label >= 0.0 && label <= 1.0, ErrorCode::kFormat,
            "{}: label {} is not from 0 to 1; divide the labels by the largest", where, label);
      texts.emplace_back(row.Text(columns_.text), label);
    }
    lists_ = lists;
    const auto next = static_cast<idx_t>(queries_.size());
    const idx_t number = queries_.emplace(io::ChecksumOf(query), next).first->second;
    digest_.Add(query);
    for (auto& [text, label] : texts) {
      digest_.Add(text);
      digest_.Add(fmt::format("{}", label));
      LabelledText pair;
      pair.text = query;
      pair.pair = std::move(text);
      pair.value = label;
      pair.line = row.line;
      pair.where = where;
      out_->pairs.rows.push_back(pair);
      out_->queries.push_back(number);
    }
  }

 private:
  const JudgedColumns& columns_;
  JudgedTexts* out_;
  data::RowRules rules_;
  std::optional<bool> lists_;                       // whether rows have lists of texts
  std::unordered_map<std::string, idx_t> queries_;  // their numbers, by checksums
  RowDigest digest_;
};

}  // namespace

JudgedTexts ReadJudgedTexts(const std::vector<std::filesystem::path>& files,
                            const DataOptions& data, const JudgedColumns& columns,
                            std::vector<std::string>* notes, const data::ScratchPlace& place) {
  JudgedTexts texts;
  texts.pairs.rows = StoredRows<LabelledText>(place);
  JudgedReader reader(data, columns, &texts);
  texts.pairs.source = ReadRowFiles(
      files, reader.rules(), "queries with texts", "rerank",
      [&](const data::Row& row, bool table) { reader.Add(row, table); }, notes);
  texts.pairs.fingerprint = reader.Fingerprint();
  return texts;
}

JudgedRows TokenizeJudged(Context& context, const text::Tokenizer& tokenizer, JudgedTexts texts,
                          const CrossEncoderFolder& folder, const TextModelInfo& info,
                          const ClassifyLimits& limits) {
  if (!folder.prompt.empty() || folder.transformer.lower_case) {
    StoredRows<LabelledText> changed(texts.pairs.rows.place());
    for (LabelledText row : texts.pairs.rows) {
      row.text = folder.prompt + row.text;
      if (folder.transformer.lower_case) {
        row.text = LowerCaseText(row.text);
        row.pair = LowerCaseText(row.pair);
      }
      changed.push_back(row);
    }
    texts.pairs.rows = std::move(changed);
  }
  // As numbers: labels between 0 and 1 are no names.
  const ClassifyTarget numbers{{"LABEL_0"}, ProblemType::kRegression};
  return {TokenizeRows(context, tokenizer, texts.pairs, numbers, info, limits),
          std::move(texts.queries)};
}

ClassifyTarget RelevanceTarget(const TextModelInfo& info) {
  ClassifyTarget target{{"LABEL_0"}, ProblemType::kMultiLabel};
  if (info.head == HeadKind::kSequence && info.label_count() == 1) target.labels = info.labels;
  return target;
}

RerankerEval EvaluateJudged(Context& context, TextModel& model, const GlobalPolicy& global,
                            const ClassifyRows& rows, std::span<const idx_t> numbers,
                            const EvalHooks& hooks) {
  ClassifierScores said;
  const ClassifierEval pairs =
      EvaluateRows(context, model, RelevanceTarget(model.info()), global, rows, hooks, &said);
  RerankerEval e;
  e.pairs = rows.size();
  e.cut = rows.cut;
  e.loss = pairs.loss;
  e.accuracy = pairs.accuracy;
  std::vector<std::uint8_t> truth;
  std::vector<double> scores;
  struct Query {
    std::vector<double> scores, gains;
  };
  std::map<idx_t, Query> queries;
  for (std::size_t i = 0; i < said.logits.size(); ++i) {
    const auto score = static_cast<double>(said.logits[i]);
    const auto label = static_cast<double>(rows.values[i]);
    truth.push_back(label > kRelevant ? 1 : 0);
    scores.push_back(score);
    queries[numbers[i]].scores.push_back(score);
    queries[numbers[i]].gains.push_back(label);
  }
  e.average_precision = metrics::AveragePrecision(truth, scores);
  std::vector<metrics::RankedQuery> ranked;
  for (const auto& [number, query] : queries) {
    ranked.push_back(metrics::RankByScore(query.scores, query.gains));
  }
  const metrics::RankingScore ranking = metrics::ScoreRankings(ranked, kRankingDepth);
  e.queries = ranking.queries;
  e.without = ranking.without;
  e.mrr = ranking.mrr;
  e.ndcg = ranking.ndcg;
  return e;
}

RerankTask::RerankTask(const TrainOptions& options, const ClassifyOptions& task,
                       const text::Tokenizer& tokenizer, const TextModelInfo& info,
                       ClassifyTarget target, ClassifyRows train, JudgedRows held_out)
    : ClassifyTask(options, task, tokenizer, info, std::move(target), std::move(train),
                   std::move(held_out.rows)),
      queries_(std::move(held_out.queries)) {}

nlohmann::json RerankTask::DecidingOptions() const {
  return WithSharedOptions({{"task", "rerank"}}, epochs());
}

TaskEvaluation RerankTask::Evaluate(Context& context, const EvalHooks& hooks) {
  const RerankerEval e = EvaluateJudged(context, model(), global(), held_out(), queries_, hooks);
  return {e.loss,
          {{"accuracy", e.accuracy},
           {"average_precision", e.average_precision},
           {"mrr", e.mrr},
           {"ndcg", e.ndcg}}};
}

}  // namespace longspan
