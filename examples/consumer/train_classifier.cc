// Fine-tunes a model on a table of texts and labels, says how far it is, and then classifies a text
// with what it has learnt.
//   train_classifier MODEL rows.csv OUTPUT "a text"
#include <cstdio>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/error.h"
#include "longspan/tasks.h"
#include "longspan/train.h"

namespace {

void Tell(const longspan::TrainEvent& event) {
  using Kind = longspan::TrainEvent::Kind;
  if (event.kind == Kind::kStep) {
    std::printf("update %d of %d: loss %.4f, %.0f tokens/s, %.0f s left\n",
                static_cast<int>(event.step), static_cast<int>(event.steps), event.loss,
                event.tokens_per_s, event.seconds_left);
  } else if (event.kind == Kind::kEval) {
    std::printf("held-out texts: loss %.4f", event.loss);
    for (const auto& metric : event.metrics) {
      std::printf(", %s %.3f", metric.name.c_str(), metric.value);
    }
    std::printf("\n");
  }
}

void Train(const std::string& model, const std::string& rows, const std::string& output,
           const std::string& text) {
  longspan::Context context;
  longspan::TrainOptions options = longspan::FineTuneOptions();
  options.model = model;
  options.output = output;
  options.data.train = {rows};
  options.data.held_out = 0.2;
  options.optimizer.learning_rate = 1e-3;  // of a tiny model with random weights
  options.checkpoints.log_every = 1;
  options.checkpoints.overwrite = true;
  longspan::ClassifyOptions task;
  task.epochs = 10;
  longspan::TrainHooks hooks;
  hooks.on_event = Tell;
  const longspan::TrainResult result = longspan::TrainClassifier(context, options, task, hooks);
  std::printf("%d updates in %.1f s\n", static_cast<int>(result.step), result.total_seconds);

  const longspan::TaskModel trained = longspan::TaskModel::Load(options.output);
  const std::vector<longspan::TaskText> question = {{text}};
  const auto scores = longspan::Classify(context, trained, question)[0].scores;
  const auto best = longspan::Largest(scores, 1)[0];
  std::printf("\"%s\" is %s: %.2f\n", text.c_str(), trained.info().labels[best].c_str(),
              scores[best]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: train_classifier MODEL rows.csv OUTPUT TEXT\n");
    return 2;
  }
  try {
    Train(argv[1], argv[2], argv[3], argv[4]);
    return 0;
  } catch (const longspan::Error& error) {
    std::fprintf(stderr, "train_classifier: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
