#include "cli/vector_output.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cli/check.h"
#include "cli/json_list.h"
#include "cli/npy.h"
#include "cli/table_field.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;  // handed on at once

struct FormatName {
  VectorFormat format;
  std::string_view name;
  std::string_view ending;
};
constexpr FormatName kFormats[] = {
    {VectorFormat::kJsonLines, "jsonl", ".jsonl"},
    {VectorFormat::kJson, "json", ".json"},
    {VectorFormat::kNpy, "npy", ".npy"},
    {VectorFormat::kCsv, "csv", ".csv"},
    {VectorFormat::kTsv, "tsv", ".tsv"},
    {VectorFormat::kText, "text", ".txt"},
    {VectorFormat::kJsonLines, "jsonl", ".ndjson"},
};

// Called with what has been done: its error is read behind it, for arguments have no order.
void CheckSpool(bool done) {
  const int error = errno;
  Check(done, ErrorCode::kIo, "a temporary file for the array: {}", std::strerror(error));
}

}  // namespace

VectorFormat VectorFormatNamed(std::string_view name) {
  std::vector<std::string_view> names;
  for (const FormatName& format : kFormats) {
    if (format.name == name) return format.format;
    if (std::find(names.begin(), names.end(), format.name) == names.end()) {
      names.push_back(format.name);
    }
  }
  Fail(ErrorCode::kUsage, "output-format: '{}' is none of {}", io::Escape(name),
       fmt::join(names, ", "));
}

std::optional<VectorFormat> FormatOfEnding(const std::filesystem::path& file) {
  const std::string ending = LowerAscii(file.extension().string());
  for (const FormatName& format : kFormats) {
    if (format.ending == ending) return format.format;
  }
  return std::nullopt;
}

VectorFormat VectorFormatOfEnding(const std::filesystem::path& file) {
  if (const auto format = FormatOfEnding(file)) return *format;
  std::vector<std::string_view> endings;
  for (const FormatName& format : kFormats) endings.push_back(format.ending);
  Fail(ErrorCode::kUsage,
       "output: '{}': its ending says no form that is known ({}); use one of them or add "
       "--output-format",
       io::Escape(file.string()), fmt::join(endings, ", "));
}

std::filesystem::path IdsFileOf(const std::filesystem::path& matrix) {
  auto ids = std::filesystem::path(matrix).replace_extension(".ids.jsonl");
  Check(ids != matrix, ErrorCode::kUsage,
        "output: '{}' is the name of the rows' list; give the array another one",
        io::Escape(matrix.string()));
  return ids;
}

VectorOutput::VectorOutput(std::string file, VectorFormat format, idx_t width,
                           const nlohmann::ordered_json& head,
                           std::function<void(const std::string&)> note)
    : file_(std::move(file)), format_(format), width_(width), note_(std::move(note)) {
  const bool matrix = format_ == VectorFormat::kNpy;
  if (!file_.empty()) {
    vectors_ = std::make_unique<io::AtomicFile>(file_);
    if (format_ == VectorFormat::kJson) {
      pending_ = JsonListHead(head, "results");
    }
    if (!matrix) return;
    ids_ = std::make_unique<io::AtomicFile>(IdsFileOf(file_));
    vectors_->Write(NpyHeader(0, width_));  // its place; rows are counted at the end
  } else if (matrix) {
    spool_ = std::tmpfile();
    CheckSpool(spool_ != nullptr);
  }
}

VectorOutput::~VectorOutput() {
  if (spool_ != nullptr) std::fclose(spool_);
}

void VectorOutput::Add(TaskRun& run, const TaskChunk& chunk, const Tensor& vectors) {
  const float* values = vectors.data<float>();
  if (!begun_ && (format_ == VectorFormat::kCsv || format_ == VectorFormat::kTsv)) {
    bool ids = false;
    for (std::size_t i = 0; i < chunk.inputs.size(); ++i) {
      const auto text = static_cast<idx_t>(i);
      ids = ids || run.Describe(chunk.inputs[i], chunk.rows, text).contains("id");
    }
    if (!chunk.inputs.empty()) BeginTable(ids);
  }
  for (std::size_t i = 0; i < chunk.inputs.size(); ++i) {
    AddRow(run, chunk, i, values + static_cast<idx_t>(i) * width_);
    ++rows_;
    if (pending_.size() >= kPieceBytes) Flush();
  }
  if (file_.empty()) Flush();  // who reads along waits for it
}

void VectorOutput::AddRow(TaskRun& run, const TaskChunk& chunk, std::size_t i,
                          const float* vector) {
  const auto text = static_cast<idx_t>(i);
  if (format_ == VectorFormat::kText) {
    pending_ += fmt::format("{}\n", fmt::join(vector, vector + width_, " "));
    return;
  }
  nlohmann::ordered_json described = run.Describe(chunk.inputs[i], chunk.rows, text);
  if (format_ == VectorFormat::kNpy) {
    pending_.append(reinterpret_cast<const char*>(vector),
                    static_cast<std::size_t>(width_) * sizeof(float));
    if (!ids_) return;
    nlohmann::ordered_json line = {{"row", rows_}, {"input", described["input"]}};
    if (described.contains("id")) line["id"] = described["id"];
    ids_text_ += DumpJson(line, -1);
    return;
  }
  if (format_ == VectorFormat::kCsv || format_ == VectorFormat::kTsv) {
    return AddTableRow(described, vector);
  }
  const std::vector<float> numbers(vector, vector + width_);
  if (format_ == VectorFormat::kJson && file_.empty()) {
    return run.Add(chunk.inputs[i], chunk.rows, text, {{{"embedding", numbers}}, ""});
  }
  described["embedding"] = numbers;
  if (format_ == VectorFormat::kJsonLines) {
    pending_ += DumpJson(described, -1);
  } else {
    pending_ += (rows_ == 0 ? "\n" : ",\n") + IndentedJson(described, 4);
  }
}

void VectorOutput::BeginTable(bool ids) {
  begun_ = true;
  has_ids_ = ids;
  const char separator = format_ == VectorFormat::kTsv ? '\t' : ',';
  pending_ += "input";
  if (ids) pending_ += fmt::format("{}id", separator);
  for (idx_t c = 0; c < width_; ++c) pending_ += fmt::format("{}e{}", separator, c);
  pending_ += '\n';
}

void VectorOutput::AddTableRow(const nlohmann::ordered_json& described, const float* vector) {
  const char separator = format_ == VectorFormat::kTsv ? '\t' : ',';
  const auto text_of = [](const nlohmann::ordered_json& value) {
    if (value.is_null()) return std::string();
    std::string text = JsonText(value);  // an integer of any length is written by this alone
    return text.starts_with('"') ? value.get<std::string>() : text;
  };
  const std::string input = text_of(described["input"]);
  const bool id = described.contains("id");
  pending_ += TableField(input, separator);
  if (has_ids_) {
    pending_ += separator;
    if (id) pending_ += TableField(text_of(described["id"]), separator);
  } else if (id && !told_) {
    told_ = true;
    note_(
        fmt::format("{}: has an id, but the table began without; ids are left out from here on "
                    "(.jsonl keeps them)",
                    ShownName(input)));
  }
  for (idx_t c = 0; c < width_; ++c) {
    fmt::format_to(std::back_inserter(pending_), "{}{}", separator, vector[c]);
  }
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

void VectorOutput::Finish() {
  const bool table = format_ == VectorFormat::kCsv || format_ == VectorFormat::kTsv;
  if (table && !begun_) BeginTable(false);
  if (format_ == VectorFormat::kJson && vectors_) pending_ += rows_ == 0 ? "]\n}\n" : "\n  ]\n}\n";
  Flush();
  if (format_ == VectorFormat::kNpy) return FinishMatrix();
  if (vectors_) vectors_->Commit();
}

void VectorOutput::FinishMatrix() {
  const std::string header = NpyHeader(rows_, width_);
  if (vectors_) {
    vectors_->WriteAt(0, header);
    io::AtomicFile* const files[] = {ids_.get(), vectors_.get()};
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
