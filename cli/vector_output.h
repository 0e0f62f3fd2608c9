// Where the vectors of texts go, and in which form: what `embed` writes.
#pragma once

#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/output_form.h"
#include "cli/task_run.h"
#include "cli/text_table.h"
#include "longspan/files.h"
#include "longspan/vectors.h"

namespace longspan::cli {

// The list of a matrix's rows, beside it: v.ids.jsonl of v.npy. kUsage when that is its own name.
std::filesystem::path IdsFileOf(const std::filesystem::path& matrix);
// The ranges of a matrix of int8, beside it: v.ranges.npy of v.npy, float32 (2, width): the least
// and the largest number of each place. kUsage as above.
std::filesystem::path RangesFileOf(const std::filesystem::path& matrix);

// The form of the numbers.
struct VectorNumbers {
  Precision precision = Precision::kFloat32;
  Tensor ranges = {};  // of int8: (2, width); empty: those of the vectors themselves
};

// Writes vectors as they come: to stdout, or to a file that appears whole or not at all. A matrix
// (.npy) in a file has `NAME.ids.jsonl` beside it, whose lines say which text each row is; both
// appear or neither; of int8 its ranges too. Memory does not grow with the number of texts, but
// for int8 without ranges, which are known when all vectors are.
class VectorOutput {
 public:
  // `file` empty: stdout. kIo when it cannot be written. `head`: what a JSON document begins with.
  // `note` takes what is odd, a line each.
  // `width`: of a vector of float32.
  VectorOutput(std::string file, OutputForm format, idx_t width, VectorNumbers numbers,
               const nlohmann::ordered_json& head, std::function<void(const std::string&)> note);
  ~VectorOutput();
  VectorOutput(const VectorOutput&) = delete;
  VectorOutput& operator=(const VectorOutput&) = delete;

  // A chunk's vectors (texts, width), fp32, with what TaskRun::Describe says of each.
  void Add(TaskRun& run, std::vector<nlohmann::ordered_json> described, const Tensor& vectors);
  void Finish(TaskRun& run);  // behind the last chunk

 private:
  // Rows that have been described, of vectors in their precision.
  void AddRows(TaskRun& run, std::vector<nlohmann::ordered_json> described, const Tensor& vectors);
  void AddRow(TaskRun& run, nlohmann::ordered_json described, const Tensor& vectors, idx_t row);
  void AddTableRow(const nlohmann::ordered_json& described, const Tensor& vectors, idx_t row);
  void AddWaiting(TaskRun& run);
  void BeginTable(bool ids);
  bool IsTable() const { return IsTableForm(format_); }
  void Flush();
  void FinishMatrix();

  std::string file_;
  OutputForm format_;
  idx_t width_, rows_ = 0;
  VectorNumbers numbers_;
  std::function<void(const std::string&)> note_;
  std::unique_ptr<io::AtomicFile> vectors_, ids_, ranges_;
  std::FILE* spool_ = nullptr;                   // a matrix's values on their way to stdout
  std::string pending_, ids_text_;               // written, not yet handed on
  std::vector<nlohmann::ordered_json> waiting_;  // for the ranges, with their vectors
  std::vector<float> waiting_values_;
  TextTable table_;
};

}  // namespace longspan::cli
