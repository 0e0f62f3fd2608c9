// What a classifier made of each text of an evaluation, as a file: `eval --predictions`.
#pragma once

#include <filesystem>
#include <string>

#include "longspan/evaluate.h"
#include "longspan/files.h"

namespace longspan::cli {

// A file with one line a text, which appears whole or not at all.
//   .jsonl: {"row", "input", "id" where the text has one, "gold", "predicted", "right",
//           "scores": [{"label", "score"}, ...]}; gold and predicted are a name, of sets a list of
//           names, of numbers a number (then without "right" and "scores").
//   .csv:   the same columns, with one column "score NAME" for each label; sets are JSON lists.
class PredictionsFile {
 public:
  // Begins the file, so that what cannot be written is found before the evaluation. kUsage for
  // another ending, for the file `data` that is read and for a file that lies in the folder
  // `model`; kIo.
  PredictionsFile(const std::filesystem::path& file, const std::string& data,
                  const std::string& model);
  // kIo.
  void Write(const ClassifierEval& eval, const Predictions& predictions);

 private:
  void WriteTable(const ClassifierEval& eval, const Predictions& predictions);
  void WriteLines(const ClassifierEval& eval, const Predictions& predictions);

  bool table_ = false;
  std::filesystem::path path_;
  io::AtomicFile file_;
};

}  // namespace longspan::cli
