// What a model made of each text of an evaluation, as a file: `eval --predictions`.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/output_form.h"
#include "longspan/evaluate.h"
#include "longspan/files.h"

namespace longspan::cli {

// A file with one line a text (or a word), which appears whole or not at all: .jsonl, .csv or .tsv,
// as its name ends.
class PredictionsFile {
 public:
  // Begins the file, so that what cannot be written is found before the evaluation. kUsage for
  // another ending, for the file `data` that is read and for a file that lies in the folder
  // `model`; kIo.
  PredictionsFile(const std::filesystem::path& file, const std::string& data,
                  const std::string& model);
  // The same without a file, before a model is read: kUsage.
  static void CheckPlace(const std::filesystem::path& file, const std::string& data,
                         const std::string& model);
  // A file as the constructor begins it; nothing for an empty name, and on other ranks than rank 0.
  static std::optional<PredictionsFile> Begin(const std::string& file, const std::string& data,
                                              const std::string& model);

  bool table() const { return IsTableForm(form_); }
  // A line of either form. kIo.
  void Write(const nlohmann::ordered_json& object);
  void WriteFields(
      const std::vector<std::string>& fields);  // as they are; quoted where they need it
  void Commit();

 private:
  OutputForm form_;
  std::filesystem::path path_;
  io::AtomicFile file_;
};

// An id (JSON text, or empty) as a value or as a table's field (CellOf, text_table.h).
nlohmann::ordered_json IdValue(const std::string& id);
std::string IdField(const std::string& id);

// What a classifier made of each text, as the whole file.
//   .jsonl: {"row", "input", "id" where the text has one, "gold", "predicted", "right",
//           "scores": [{"label", "score"}, ...]}; gold and predicted are a name, of sets a list of
//           names, of numbers a number (then without "right" and "scores"); then "text", and
//           "text_pair" of a pair, as far as Prediction has them.
//   .csv, .tsv: the same columns, with one column "score NAME" for each label; sets are JSON lists.
//           There is a column text_pair if some text is a pair.
void WritePredictions(const ClassifierEval& eval, const Predictions& predictions,
                      PredictionsFile& file);

}  // namespace longspan::cli
