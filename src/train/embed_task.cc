#include "train/embed_task.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "base/errors.h"
#include "base/rng.h"
#include "longspan/files.h"
#include "longspan/metrics.h"
#include "longspan/vectors.h"
#include "model/model_folder.h"

namespace longspan {
namespace {

constexpr std::pair<EmbedLoss, std::string_view> kLosses[] = {{EmbedLoss::kAuto, "auto"},
                                                              {EmbedLoss::kInBatch, "in-batch"},
                                                              {EmbedLoss::kTriplet, "triplet"},
                                                              {EmbedLoss::kCosine, "cosine"},
                                                              {EmbedLoss::kCosent, "cosent"}};

// The margins of TripletLoss, by its Euclidean distances and by cosines, which differ by 2 at most.
constexpr double kEuclideanMargin = 5.0, kCosineMargin = 0.5;

// Anchors that search together: their cosines take 8 bytes for each candidate.
constexpr std::size_t kQueriesAtOnce = 64;

bool OfScores(EmbedLoss loss) { return loss == EmbedLoss::kCosine || loss == EmbedLoss::kCosent; }

// Whether the loss multiplies cosines by a scale.
bool ScalesCosines(EmbedLoss loss) {
  return loss == EmbedLoss::kInBatch || loss == EmbedLoss::kCosent;
}

std::vector<idx_t> NumbersTo(idx_t count) {
  std::vector<idx_t> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), idx_t{0});
  return numbers;
}

// Cosine of two rows, 0 if one is a zero vector.
double CosineOf(const View<const float, 2>& vectors, idx_t a, idx_t b) {
  double dot = 0.0, aa = 0.0, bb = 0.0;
  for (idx_t c = 0; c < vectors.extent[1]; ++c) {
    const double x = vectors(a, c), y = vectors(b, c);
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa == 0.0 || bb == 0.0 ? 0.0 : dot / std::sqrt(aa * bb);
}

// Rows `numbers` of all vectors.
Tensor RowsOfVectors(const View<const float, 2>& vectors, std::span<const idx_t> numbers) {
  Tensor rows({static_cast<idx_t>(numbers.size()), vectors.extent[1]});
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::copy_n(&vectors(numbers[i], 0), vectors.extent[1],
                rows.data<float>() + static_cast<idx_t>(i) * vectors.extent[1]);
  }
  return rows;
}

// Different anchors search among the different positives and negatives.
void JudgeSearch(Context& context, const EmbedRows& data, const View<const float, 2>& vectors,
                 EmbedderEval* e) {
  std::map<idx_t, std::vector<idx_t>> positives;  // of each anchor, by the numbers of texts
  std::set<idx_t> found;
  for (const EmbedRow& row : data.rows) {
    positives[row.anchor].push_back(row.positive);
    found.insert(row.positive);
    found.insert(row.negatives.begin(), row.negatives.end());
    for (const idx_t negative : row.negatives) {
      ++e->triplets;
      const bool nearer =
          CosineOf(vectors, row.anchor, row.positive) > CosineOf(vectors, row.anchor, negative);
      e->nearer += nearer ? 1.0 : 0.0;
    }
  }
  if (e->triplets > 0) e->nearer /= static_cast<double>(e->triplets);
  const std::vector<idx_t> candidates(found.begin(), found.end());
  e->queries = static_cast<idx_t>(positives.size());
  e->candidates = static_cast<idx_t>(candidates.size());
  const Tensor corpus = RowsOfVectors(vectors, candidates);
  std::vector<idx_t> anchors;
  for (const auto& [anchor, own] : positives) anchors.push_back(anchor);
  for (std::size_t begin = 0; begin < anchors.size(); begin += kQueriesAtOnce) {
    context.CheckCancelled();
    const std::size_t count = std::min(kQueriesAtOnce, anchors.size() - begin);
    const auto chunk = std::span(anchors).subspan(begin, count);
    const Tensor cosines =
        Similarities(context, RowsOfVectors(vectors, chunk), corpus, Similarity::kCosine);
    for (std::size_t i = 0; i < count; ++i) {
      const std::vector<idx_t>& own = positives.at(chunk[i]);
      std::vector<double> gains;
      for (const idx_t candidate : candidates) {
        gains.push_back(std::find(own.begin(), own.end(), candidate) != own.end() ? 1.0 : 0.0);
      }
      const std::span scores(cosines.data<double>() + i * candidates.size(), candidates.size());
      const metrics::RankedQuery query = metrics::RankByScore(scores, gains);
      e->recall_1 += metrics::RecallAt(query, 1);
      e->recall_5 += metrics::RecallAt(query, 5);
      e->recall_10 += metrics::RecallAt(query, 10);
      e->mrr += metrics::ReciprocalRank(query, e->candidates);
    }
  }
  for (double* mean : {&e->recall_1, &e->recall_5, &e->recall_10, &e->mrr}) {
    *mean /= static_cast<double>(e->queries);
  }
}

void JudgeScores(const EmbedRows& data, const View<const float, 2>& vectors, EmbedderEval* e) {
  std::vector<double> cosines;
  for (const EmbedRow& row : data.rows) {
    cosines.push_back(CosineOf(vectors, row.anchor, row.positive));
  }
  e->pearson = metrics::Pearson(cosines, data.scores);
  e->spearman = metrics::Spearman(cosines, data.scores);
}

}  // namespace

EmbedLoss ParseEmbedLoss(std::string_view name) {
  for (const auto& [loss, known] : kLosses) {
    if (name == known) return loss;
  }
  Fail(ErrorCode::kUsage, "loss: '{}' is unknown; use auto, in-batch, triplet, cosine or cosent",
       io::Escape(name));
}

std::string_view EmbedLossName(EmbedLoss loss) {
  for (const auto& [known, name] : kLosses) {
    if (known == loss) return name;
  }
  return "?";
}

EmbedPlan MakeEmbedPlan(const EmbedTrainingOptions& task, const SentenceFolder& folder,
                        const TextModelInfo& info, bool scored) {
  EmbedPlan plan;
  plan.loss.loss = task.loss;
  if (task.loss == EmbedLoss::kAuto) {
    plan.loss.loss = scored ? EmbedLoss::kCosine : EmbedLoss::kInBatch;
  }
  Check(OfScores(plan.loss.loss) == scored, ErrorCode::kUsage,
        "loss: {} is for {}, and the data has {}", EmbedLossName(plan.loss.loss),
        scored ? "pairs and triplets" : "two texts with a score",
        scored ? "two texts with a score" : "pairs or triplets");
  Check(task.negatives_batch >= 1 && task.negatives_batch <= (1 << 20), ErrorCode::kUsage,
        "negatives-batch: {} is not from 1 to {}", task.negatives_batch, 1 << 20);
  Check(task.scale > 0.0 && task.scale <= 1e6, ErrorCode::kUsage,
        "scale: {} is not above 0 and at most 1e6", task.scale);
  const bool triplet = plan.loss.loss == EmbedLoss::kTriplet;
  Check(triplet || (!task.margin && !task.cosine_distance), ErrorCode::kUsage,
        "{}: has no effect on the loss {}, only on triplet; leave it out",
        task.margin ? "margin" : "distance", EmbedLossName(plan.loss.loss));
  Check(task.scale == EmbedTrainingOptions().scale || ScalesCosines(plan.loss.loss),
        ErrorCode::kUsage,
        "scale: has no effect on the loss {}, only on in-batch and cosent; leave it out",
        EmbedLossName(plan.loss.loss));
  plan.group = task.negatives_batch;
  plan.loss.scale = task.scale;
  plan.loss.cosine_distance = task.cosine_distance;
  plan.loss.margin = task.margin.value_or(task.cosine_distance ? kCosineMargin : kEuclideanMargin);
  Check(plan.loss.margin >= 0.0 && plan.loss.margin <= 1e6, ErrorCode::kUsage,
        "margin: {} is not from 0 to 1e6", plan.loss.margin);
  plan.head.modes = folder.pooling.modes;
  plan.head.modules = folder.modules;
  for (const auto& module : plan.head.modules) module->CheckTrains();
  const idx_t width = plan.head.width(info.width);
  plan.loss.widths = task.matryoshka;
  for (const idx_t w : plan.loss.widths) {
    Check(w >= 1 && w <= width, ErrorCode::kUsage,
          "matryoshka: {} is not from 1 to {}, the numbers of a vector of this model", w, width);
  }
  return plan;
}

EmbedderEval EvaluateVectors(Context& context, TextModel& model, const GlobalPolicy& global,
                             const EmbedPlan& plan, const EmbedRows& data, const EvalHooks& hooks) {
  VectorPass pass(model, global, plan.head, data.texts, hooks.batch_tokens);
  const Tensor vectors = pass.Evaluate(context, NumbersTo(data.texts.size()), hooks);
  EmbedderEval e;
  e.scored = data.scored;
  e.rows = data.size();
  e.texts = data.texts.size();
  e.cut = data.cut;
  double sum = 0.0;
  idx_t counted = 0;
  const std::vector<idx_t> all = NumbersTo(e.rows);
  for (idx_t begin = 0; begin < e.rows; begin += plan.group) {
    const idx_t count = std::min(plan.group, e.rows - begin);
    std::vector<idx_t> numbers;
    const VectorRows rows = VectorRowsOf(
        data,
        std::span(all).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
        &numbers);
    const Tensor own = RowsOfVectors(vectors.view<2>(), numbers);
    sum += LossOfVectors(context, plan.loss, rows, own.view<2>()).sum;
    counted += CountedOf(plan.loss, rows);
  }
  e.loss = sum / static_cast<double>(std::max<idx_t>(1, counted));
  if (data.scored) {
    JudgeScores(data, vectors.view<2>(), &e);
  } else {
    JudgeSearch(context, data, vectors.view<2>(), &e);
  }
  return e;
}

// ---- the task -----------------------------------------------------------------------------------

// The rows of an update come in an order of chance, not by length: texts of one length beside each
// other would be too easy or too hard to tell apart. Their rows of tokens are grouped by length
// afterwards (VectorPass).
EmbedTask::EmbedTask(const TrainOptions& options, const EmbedTrainingOptions& task,
                     SentenceFolder folder, const text::Tokenizer& tokenizer,
                     const TextModelInfo& info, EmbedPlan plan, EmbedRows train, EmbedRows held_out)
    : TextTask(options, info, {HeadKind::kNone, {}, ProblemType::kInferred},
               GlobalPolicy(task.global, &tokenizer)),
      task_(task),
      folder_(std::move(folder)),
      plan_(std::move(plan)),
      train_(std::move(train)),
      held_out_(std::move(held_out)),
      order_(std::vector<idx_t>(train_.rows.size(), 1), 1, plan_.group * options.accumulate,
             KeyOf(options.seed, RunKey::kData)) {}

void EmbedTask::Load(const std::filesystem::path& directory, Origin origin,
                     std::vector<std::string>* notes) {
  TextTask::Load(directory, origin, notes);
  pass_.emplace(model(), global(), plan_.head, train_.texts, options().batch * options().tokens);
}

// The pooler of a bare Longformer reads the first token, and no vector reads the pooler.
bool EmbedTask::Trains(const ParameterInfo& info) const {
  return !info.name.starts_with("pooler.");
}

nlohmann::json EmbedTask::DecidingOptions() const {
  std::vector<std::string> pooling;
  for (const PoolingMode mode : plan_.head.modes) pooling.emplace_back(PoolingName(mode));
  return WithSharedOptions({{"task", "embed"},
                            {"loss", EmbedLossName(plan_.loss.loss)},
                            {"negatives_batch", plan_.group},
                            {"scale", plan_.loss.scale},
                            {"margin", plan_.loss.margin},
                            {"cosine_distance", plan_.loss.cosine_distance},
                            {"matryoshka", plan_.loss.widths},
                            {"pooling", pooling},
                            {"anchor_prompt", task_.anchor_prompt.value_or("")},
                            {"text_prompt", task_.text_prompt.value_or("")},
                            {"overflow", OverflowName(task_.overflow)}},
                           task_.epochs);
}

StepSize EmbedTask::Draw(idx_t step) {
  groups_.clear();
  StepSize size;
  for (const std::vector<idx_t>& one : order_.Update(step)) {
    if (groups_.empty() || static_cast<idx_t>(groups_.back().size()) == plan_.group) {
      groups_.emplace_back();
    }
    groups_.back().push_back(one.front());
  }
  for (const std::vector<idx_t>& group : groups_) {
    std::vector<idx_t> numbers;
    const VectorRows rows = VectorRowsOf(train_, group, &numbers);
    size.counted += CountedOf(plan_.loss, rows);
    for (const idx_t text : numbers) size.tokens += train_.texts.tokens_of(text);
  }
  size.counted = std::max<idx_t>(1, size.counted);  // rows without a triplet
  return size;
}

TaskLoss EmbedTask::Accumulate(Context& context, idx_t micro, float scale,
                               const StepDropout& dropout) {
  const bool counts_hits = plan_.loss.loss == EmbedLoss::kInBatch;
  if (micro >= static_cast<idx_t>(groups_.size())) return {0.0, counts_hits ? 0 : -1};
  std::vector<idx_t> numbers;
  const VectorRows rows = VectorRowsOf(train_, groups_[static_cast<std::size_t>(micro)], &numbers);
  const Tensor vectors = pass_->Forward(context, numbers, dropout);
  Tensor dvectors(vectors.shape());
  const VectorLoss loss =
      LossOfVectors(context, plan_.loss, rows, vectors.view<2>(), scale, &dvectors);
  pass_->Backward(context, dvectors);
  return {loss.sum, loss.correct};
}

std::vector<std::string> EmbedTask::RowsOf(idx_t micro) const {
  std::vector<std::string> rows;
  if (micro >= static_cast<idx_t>(groups_.size())) return rows;
  for (const idx_t row : groups_[static_cast<std::size_t>(micro)]) {
    rows.push_back(train_.where[static_cast<std::size_t>(row)]);
  }
  return rows;
}

std::vector<std::string> EmbedMetricNames(std::optional<bool> scored, bool triplets) {
  std::vector<std::string> names;
  if (!scored || !*scored) names = {"mrr", "recall_1", "recall_10", "recall_5"};
  if (triplets && !names.empty()) names.push_back("triplets");
  if (!scored || *scored) names.insert(names.end(), {"pearson", "spearman"});
  return names;
}

TaskEvaluation EmbedTask::Evaluate(Context& context, const EvalHooks& hooks) {
  const EmbedderEval e = EvaluateVectors(context, model(), global(), plan_, held_out_, hooks);
  TaskEvaluation result{e.loss, {}};
  if (e.scored) {
    result.metrics = {{"pearson", e.pearson}, {"spearman", e.spearman}};
    return result;
  }
  result.metrics = {{"mrr", e.mrr},
                    {"recall_1", e.recall_1},
                    {"recall_10", e.recall_10},
                    {"recall_5", e.recall_5}};
  if (e.triplets > 0) result.metrics.push_back({"triplets", e.nearer});
  return result;
}

void EmbedTask::SaveBeside(const std::filesystem::path& directory) const {
  TextTask::SaveBeside(directory);
  CopySentenceFiles(options().model, directory);
  WriteSentences(directory);
}

void EmbedTask::Save(const std::filesystem::path& directory) {
  TextTask::Save(directory);
  WriteSentences(directory);
}

void EmbedTask::WriteSentences(const std::filesystem::path& directory) const {
  SentenceFolderUpdate update;
  update.channels = info().width;
  update.max_tokens = options().tokens;
  if (task_.pooling) update.pooling = folder_.pooling;
  update.query = task_.anchor_prompt;
  update.document = task_.text_prompt;
  WriteSentenceFolder(directory, update);
}

}  // namespace longspan
