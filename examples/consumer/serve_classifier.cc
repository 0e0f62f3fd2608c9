// Answers with classes from eight threads that share one model, as a server does. Each line of
// standard input is a text; each line of standard output is its class and the class's score.
//   serve_classifier MODEL < texts.txt
#include <atomic>
#include <cstdio>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "longspan/context.h"
#include "longspan/error.h"
#include "longspan/tasks.h"

namespace {

constexpr int kThreads = 8;

struct Answer {
  std::string label;
  double score = 0.0;
  std::optional<longspan::Error> error;  // one bad text is no reason to stop serving
};

Answer AnswerOne(longspan::Context& context, const longspan::TaskModel& model,
                 const std::string& text) {
  try {
    const std::vector<longspan::TaskText> question = {{text}};
    const auto classified = longspan::Classify(context, model, question);
    const auto best = longspan::Largest(classified[0].scores, 1)[0];
    return {model.info().labels[best], classified[0].scores[best], {}};
  } catch (const longspan::Error& error) {
    return {"", 0.0, error};
  }
}

int Serve(const std::string& folder) {
  const longspan::TaskModel model = longspan::TaskModel::Load(folder);
  std::vector<std::string> texts;
  for (std::string line; std::getline(std::cin, line);) texts.push_back(line);

  std::vector<Answer> answers(texts.size());
  std::atomic<std::size_t> next = 0;
  const auto serve = [&] {
    // The model is shared. The context, its scratch memory, is each thread's own. One thread for
    // each call: eight calls run side by side.
    longspan::Context context(1);
    for (std::size_t i = next++; i < texts.size(); i = next++) {
      answers[i] = AnswerOne(context, model, texts[i]);
    }
  };
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(serve);
  threads.clear();  // joins them

  int failed = 0;
  for (const Answer& answer : answers) {
    if (answer.error) {
      std::printf("error\t%s\n", answer.error->what());
      ++failed;
    } else {
      std::printf("%s\t%.6f\n", answer.label.c_str(), answer.score);
    }
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: serve_classifier MODEL < texts.txt\n");
    return 2;
  }
  try {
    return Serve(argv[1]);
  } catch (const longspan::Error& error) {
    std::fprintf(stderr, "serve_classifier: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
