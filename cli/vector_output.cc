#include "cli/vector_output.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <utility>

#include "cli/check.h"
#include "cli/json_list.h"
#include "cli/npy.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;  // handed on at once

// Called with what has been done: its error is read behind it, for arguments have no order.
void CheckSpool(bool done) {
  const int error = errno;
  Check(done, ErrorCode::kIo, "a temporary file for the array: {}", std::strerror(error));
}

std::filesystem::path BesideMatrix(const std::filesystem::path& matrix, const char* ending,
                                   const char* what) {
  auto file = std::filesystem::path(matrix).replace_extension(ending);
  Check(file != matrix, ErrorCode::kUsage,
        "output: '{}' is the name of {}; give the array another one", io::Escape(matrix.string()),
        what);
  return file;
}

// Ranges of fewer vectors than these are a thin base, as the package warns.
constexpr std::size_t kFewVectors = 100;

// Calls use(numbers) with a row; int8 and bits as int, so that they are written as numbers.
template <class Use>
void WithRow(const Tensor& vectors, idx_t row, const Use& use) {
  const idx_t width = vectors.shape()[1];
  const auto integers = [&](const auto* values) {
    use(std::vector<int>(values + row * width, values + (row + 1) * width));
  };
  if (vectors.dtype() == DType::kI8) {
    integers(static_cast<const std::int8_t*>(vectors.raw()));
  } else if (vectors.dtype() == DType::kU8) {
    integers(static_cast<const std::uint8_t*>(vectors.raw()));
  } else {
    const float* values = vectors.data<float>() + row * width;
    use(std::vector<float>(values, values + width));
  }
}

// What the columns of a table are called: e0, e1 of float32, i0 of int8, b0 of bytes of bits.
char ColumnLetter(Precision precision) {
  return precision == Precision::kInt8 ? 'i' : precision == Precision::kUBinary ? 'b' : 'e';
}

DType TypeOf(Precision precision) {
  return precision == Precision::kInt8      ? DType::kI8
         : precision == Precision::kUBinary ? DType::kU8
                                            : DType::kF32;
}

}  // namespace

std::filesystem::path IdsFileOf(const std::filesystem::path& matrix) {
  return BesideMatrix(matrix, ".ids.jsonl", "the rows' list");
}

std::filesystem::path RangesFileOf(const std::filesystem::path& matrix) {
  return BesideMatrix(matrix, ".ranges.npy", "the ranges");
}

VectorOutput::VectorOutput(std::string file, OutputForm format, idx_t width, VectorNumbers numbers,
                           const nlohmann::ordered_json& head,
                           std::function<void(const std::string&)> note)
    : file_(std::move(file)),
      format_(format),
      width_(numbers.precision == Precision::kUBinary ? (width + 7) / 8 : width),
      numbers_(std::move(numbers)),
      note_(std::move(note)),
      table_(format_, note_) {
  const bool matrix = format_ == OutputForm::kNpy;
  if (!file_.empty()) {
    vectors_ = std::make_unique<io::AtomicFile>(file_);
    if (format_ == OutputForm::kJson) {
      pending_ = JsonListHead(head, "results");
    }
    if (!matrix) return;
    ids_ = std::make_unique<io::AtomicFile>(IdsFileOf(file_));
    if (numbers_.precision == Precision::kInt8) {
      ranges_ = std::make_unique<io::AtomicFile>(RangesFileOf(file_));
    }
    vectors_->Write(NpyHeader(0, width_));  // its place; rows are counted at the end
  } else if (matrix) {
    spool_ = std::tmpfile();
    CheckSpool(spool_ != nullptr);
  }
}

VectorOutput::~VectorOutput() {
  if (spool_ != nullptr) std::fclose(spool_);
}

void VectorOutput::Add(TaskRun& run, std::vector<nlohmann::ordered_json> described,
                       const Tensor& vectors) {
  if (numbers_.precision == Precision::kFloat32) {
    return AddRows(run, std::move(described), vectors);
  }
  if (numbers_.precision == Precision::kInt8 && numbers_.ranges.empty()) {
    const float* values = vectors.data<float>();
    waiting_values_.insert(waiting_values_.end(), values, values + vectors.size());
    std::move(described.begin(), described.end(), std::back_inserter(waiting_));
    return;
  }
  AddRows(run, std::move(described), Quantize(vectors, numbers_.precision, numbers_.ranges));
}

void VectorOutput::AddWaiting(TaskRun& run) {
  if (waiting_.empty()) return;
  const auto rows = static_cast<idx_t>(waiting_.size());
  const Tensor vectors = Tensor::Adopt(waiting_values_.data(), {rows, width_}, DType::kF32, {});
  numbers_.ranges = RangesOf(vectors);
  if (waiting_.size() < kFewVectors) {
    note_(fmt::format("the ranges of int8 come from {} vectors alone; --ranges takes those of more",
                      waiting_.size()));
  }
  if (!ranges_) note_("the ranges of int8 are not kept; -o NAME.npy writes NAME.ranges.npy");
  AddRows(run, std::move(waiting_), Quantize(vectors, Precision::kInt8, numbers_.ranges));
}

void VectorOutput::AddRows(TaskRun& run, std::vector<nlohmann::ordered_json> described,
                           const Tensor& vectors) {
  if (IsTable() && !table_.begun() && !described.empty()) {
    BeginTable(std::any_of(described.begin(), described.end(),
                           [](const auto& row) { return row.contains("id"); }));
  }
  for (std::size_t i = 0; i < described.size(); ++i) {
    AddRow(run, std::move(described[i]), vectors, static_cast<idx_t>(i));
    ++rows_;
    if (pending_.size() >= kPieceBytes) Flush();
  }
  if (file_.empty()) Flush();  // who reads along waits for it
}

void VectorOutput::AddRow(TaskRun& run, nlohmann::ordered_json described, const Tensor& vectors,
                          idx_t row) {
  if (format_ == OutputForm::kText) {
    return WithRow(vectors, row, [&](const auto& numbers) {
      pending_ += fmt::format("{}\n", fmt::join(numbers, " "));
    });
  }
  if (format_ == OutputForm::kNpy) {
    const std::size_t bytes = static_cast<std::size_t>(width_) * ElementBytes(vectors.dtype());
    pending_.append(static_cast<const char*>(vectors.raw()) + static_cast<std::size_t>(row) * bytes,
                    bytes);
    if (!ids_) return;
    nlohmann::ordered_json line = {{"row", rows_}, {"input", described["input"]}};
    if (described.contains("id")) line["id"] = described["id"];
    ids_text_ += DumpJson(line, -1);
    return;
  }
  if (IsTable()) {
    return AddTableRow(described, vectors, row);
  }
  nlohmann::ordered_json embedding;
  WithRow(vectors, row, [&](const auto& numbers) { embedding = numbers; });
  if (format_ == OutputForm::kJson && file_.empty()) {
    return run.Add(std::move(described), {{{"embedding", std::move(embedding)}}, ""});
  }
  if (format_ == OutputForm::kJsonLines && numbers_.precision != Precision::kFloat32) {
    described["precision"] = PrecisionName(numbers_.precision);
  }
  described["embedding"] = std::move(embedding);
  if (format_ == OutputForm::kJsonLines) {
    pending_ += DumpJson(described, -1);
  } else {
    pending_ += (rows_ == 0 ? "\n" : ",\n") + IndentedJson(described, 4);
  }
}

void VectorOutput::BeginTable(bool ids) {
  std::vector<std::string> columns;
  const char letter = ColumnLetter(numbers_.precision);
  for (idx_t c = 0; c < width_; ++c) columns.push_back(fmt::format("{}{}", letter, c));
  pending_ += table_.Header(ids, columns);
}

void VectorOutput::AddTableRow(const nlohmann::ordered_json& described, const Tensor& vectors,
                               idx_t row) {
  pending_ += table_.Begin(described);
  WithRow(vectors, row, [&](const auto& numbers) {
    for (const auto number : numbers) {
      fmt::format_to(std::back_inserter(pending_), "{}{}", table_.separator(), number);
    }
  });
  pending_ += '\n';
}

void VectorOutput::Flush() {
  if (ids_) ids_->Write(ids_text_);
  if (vectors_) {
    vectors_->Write(pending_);
  } else if (spool_ != nullptr) {
    CheckSpool(std::fwrite(pending_.data(), 1, pending_.size(), spool_) == pending_.size());
  } else if (!pending_.empty()) {
    PrintResult(pending_);
  }
  pending_.clear();
  ids_text_.clear();
}

void VectorOutput::Finish(TaskRun& run) {
  AddWaiting(run);
  if (IsTable() && !table_.begun()) BeginTable(false);
  if (format_ == OutputForm::kJson && vectors_) pending_ += rows_ == 0 ? "]\n}\n" : "\n  ]\n}\n";
  Flush();
  if (format_ == OutputForm::kNpy) return FinishMatrix();
  if (vectors_) vectors_->Commit();
}

void VectorOutput::FinishMatrix() {
  const std::string header = NpyHeader(rows_, width_, TypeOf(numbers_.precision));
  if (vectors_) {
    vectors_->WriteAt(0, header);
    std::vector<io::AtomicFile*> files = {ids_.get(), vectors_.get()};
    if (ranges_) {
      ranges_->Write(NpyHeader(2, width_));
      ranges_->Write(numbers_.ranges.raw(), numbers_.ranges.bytes());
      files.insert(files.begin(), ranges_.get());
    }
    return io::CommitTogether(files);
  }
  PrintResult(header);
  std::rewind(spool_);
  std::string piece(kPieceBytes, '\0');
  while (const std::size_t bytes = std::fread(piece.data(), 1, piece.size(), spool_)) {
    PrintResult(std::string_view(piece).substr(0, bytes));
  }
  CheckSpool(std::ferror(spool_) == 0);
}

}  // namespace longspan::cli
