// Trainings whose options have names.
#include <algorithm>
#include <string>
#include <utility>

#include "base/errors.h"
#include "train/named_tasks.h"

namespace longspan {
namespace {

void ReadNamedSteps(NamedOptions& o, TrainOptions& train) {
  o.Read("model", train.model);
  o.Read("output", train.output);
  o.Read("train", train.data.train);
  o.Read("eval", train.data.eval);
  o.Read("held_out", train.data.held_out);
  o.Read("steps", train.steps);
  o.Read("batch", train.batch);
  o.Read("tokens", train.tokens);
  o.ReadName("lengths", train.lengths, [](const std::string& text) { return ParseLengths(text); });
  o.Read("accumulate", train.accumulate);
  o.Read("row_ranks", train.row_ranks);
  o.Read("seed", train.seed);
  o.ReadName("optimizer", train.optimizer.kind,
             [](const std::string& name) { return ParseOptimizer(name); });
  o.Read("beta2_decay", train.optimizer.beta2_decay);
  o.Read("update_clip", train.optimizer.update_clip);
  o.Read("momentum", train.optimizer.momentum);
  o.Read("nesterov", train.optimizer.nesterov);
  o.Read("learning_rate", train.optimizer.learning_rate);
  o.Read("beta1", train.optimizer.beta1);
  o.Read("beta2", train.optimizer.beta2);
  o.Read("epsilon", train.optimizer.epsilon);
  o.Read("weight_decay", train.optimizer.weight_decay);
  o.Read("clip", train.optimizer.clip);
  o.ReadName("schedule", train.schedule.kind,
             [](const std::string& name) { return ParseSchedule(name); });
  for (const char* name :
       {"beta1", "beta2", "epsilon", "beta2_decay", "update_clip", "momentum", "nesterov"}) {
    std::string option = name;
    std::replace(option.begin(), option.end(), '_', '-');
    if (o.Has(name)) CheckOptimizerHas(train.optimizer.kind, option);
  }
  o.Read("train_only", train.trained.only);
  o.Read("freeze", train.trained.freeze);
  o.Read("head_learning_rate", train.trained.head_learning_rate);
  o.Read("warmup", train.schedule.warmup);
  o.Read("final_rate", train.schedule.final_rate);
}

void ReadNamedComputing(NamedOptions& o, TrainOptions& train) {
  o.ReadName("dtype", train.compute.dtype, ParseDType);
  o.Read("memory", train.compute.memory);
  o.ReadName("gradient_streams", train.compute.gradient_streams, ParseDType);
  o.Read("recompute", train.compute.recompute);
  o.Read("dropout", train.compute.dropout);
  o.Read("allow_nonfinite", train.compute.allow_nonfinite);
  ReadReformerOptions(o, train.compute.reformer);
  o.Read("log_every", train.checkpoints.log_every);
  o.Read("eval_every", train.checkpoints.eval_every);
  o.Read("save_every", train.checkpoints.save_every);
  o.Read("keep", train.checkpoints.keep);
  o.Read("tensorboard", train.checkpoints.tensorboard);
  o.Read("resume", train.checkpoints.resume);
  o.Read("extend", train.checkpoints.extend);
  o.Read("overwrite", train.checkpoints.overwrite);
  o.Read("survive_save_error", train.checkpoints.survive_save_error);
  o.Read("first_save_seconds", train.checkpoints.first_save_s);
  o.Read("max_seconds", train.checkpoints.max_time_s);
  o.Read("metric", train.selection.metric);
  o.Read("patience", train.selection.patience);
  bool last = train.selection.kept == KeptModel::kLast;
  o.Read("keep_last", last);
  train.selection.kept = last ? KeptModel::kLast : KeptModel::kBest;
}

TrainOptions ReadTrainOptions(NamedOptions& o, TrainOptions train) {
  ReadNamedSteps(o, train);
  ReadNamedComputing(o, train);
  ReadFileOptions(o, train.data.read);
  return train;
}

NamedTraining LmByName(NamedOptions& o, const TrainOptions& defaults) {
  LanguageModelOptions task;
  o.Read("tokenizer", task.tokenizer);
  o.ReadName("documents", task.documents,
             [](const std::string& name) { return ParseDocuments(name, true); });
  o.Read("packed", task.packed);
  return [task, train = ReadTrainOptions(o, defaults)](Context& context, const TrainHooks& hooks) {
    return TrainLanguageModel(context, train, task, hooks);
  };
}

// A training of the library by the options of fine-tuning.
template <class Task>
NamedTraining RunByName(NamedOptions& o, const Task& task, const TrainOptions& defaults,
                        TrainResult (*train)(Context&, const TrainOptions&, const Task&,
                                             const TrainHooks&)) {
  return [task, train, options = ReadTrainOptions(o, defaults)](Context& context,
                                                                const TrainHooks& hooks) {
    return train(context, options, task, hooks);
  };
}

NamedTraining MaskedLmByName(NamedOptions& o, const TrainOptions& defaults) {
  MaskedLmOptions task;
  ReadTaskOptions(o, task);
  return RunByName(o, task, defaults, TrainMaskedLm);
}

// The task's options of a training over rows, with epochs.
template <class Task>
Task NamedTaskOf(NamedOptions& o) {
  Task task;
  ReadTaskOptions(o, task);
  // Steps in place of epochs, unless both are named.
  if (o.Has("steps")) task.epochs = 0.0;
  o.Read("epochs", task.epochs);
  return task;
}

void ReadNamedWeights(NamedOptions& o, ClassWeights& weights) {
  o.ReadName("class_weights", weights,
             [](const std::string& text) { return ClassWeights::Parse(text); });
}

NamedTraining ClassifierByName(NamedOptions& o, const TrainOptions& defaults) {
  auto task = NamedTaskOf<ClassifyOptions>(o);
  ReadNamedWeights(o, task.weights);
  o.Read("label_smoothing", task.label_smoothing);
  o.ReadName("window_loss", task.window_loss,
             [](const std::string& name) { return ParseWindowLoss(name); });
  return RunByName(o, task, defaults, TrainClassifier);
}

NamedTraining TagsByName(NamedOptions& o, const TrainOptions& defaults) {
  auto task = NamedTaskOf<TokenClassOptions>(o);
  ReadNamedWeights(o, task.weights);
  return RunByName(o, task, defaults, TrainTokenClassifier);
}

NamedTraining AnswersByName(NamedOptions& o, const TrainOptions& defaults) {
  return RunByName(o, NamedTaskOf<AnswerTaskOptions>(o), defaults, TrainQuestionAnswering);
}

NamedTraining ChoicesByName(NamedOptions& o, const TrainOptions& defaults) {
  return RunByName(o, NamedTaskOf<ChoiceTaskOptions>(o), defaults, TrainMultipleChoice);
}

// One batch of negatives an update, as the program has it.
NamedTraining VectorsByName(NamedOptions& o, const TrainOptions& defaults) {
  TrainOptions one = defaults;
  one.accumulate = 1;
  return RunByName(o, NamedTaskOf<EmbedTrainingOptions>(o), one, TrainEmbedder);
}

NamedTraining RelevanceByName(NamedOptions& o, const TrainOptions& defaults) {
  return RunByName(o, NamedTaskOf<RerankTrainingOptions>(o), defaults, TrainReranker);
}

struct NamedTrainingRow {
  std::string_view task;
  NamedTraining (*make)(NamedOptions& o, const TrainOptions& defaults);
};

constexpr NamedTrainingRow kNamedTrainings[] = {
    {"lm", LmByName},
    {"mlm", MaskedLmByName},
    {"classify", ClassifierByName},
    {"token-classify", TagsByName},
    {"qa", AnswersByName},
    {"multiple-choice", ChoicesByName},
    {"embed", VectorsByName},
    {"rerank", RelevanceByName},
};

}  // namespace

std::string NamedTasks() {
  std::string names;
  for (const NamedTrainingRow& row : kNamedTrainings) {
    names.append(names.empty() ? "" : ", ").append(row.task);
  }
  return names;
}

NamedTraining ReadTraining(std::string_view task, NamedOptions& options, bool for_ranks) {
  const NamedTrainingRow& row = RowOfTask(kNamedTrainings, "train", task);
  // A language model is trained from its first weights on, the others are fine-tuned.
  TrainOptions defaults = row.make == LmByName ? TrainOptions() : FineTuneOptions();
  defaults.accumulate_for_ranks = for_ranks && !options.Has("accumulate");
  return row.make(options, defaults);
}

}  // namespace longspan
