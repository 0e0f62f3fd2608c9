#include "tasks/vector_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "io/ascii.h"
#include "io/json.h"
#include "io/paths.h"
#include "longspan/files.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string ReadAll(const io::ByteSource& bytes) {
  std::string text(bytes.size(), '\0');
  bytes.ReadAt(0, text.data(), text.size());
  return text;
}

void CheckWidthOfFile(idx_t width, std::string_view where) {
  Check(width >= 1 && width <= limits::kMostVectorChannels, ErrorCode::kFormat,
        "{}: vectors of {} numbers, must have 1 to {}", where, width, limits::kMostVectorChannels);
}

// ---- NumPy --------------------------------------------------------------------------------------

// What the header of a .npy file says: a Python dict of three fields.
struct NpyArray {
  std::string type;  // "<f4"
  bool fortran = false;
  std::vector<idx_t> shape;
};

// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class NpyDict {
 public:
  NpyDict(std::string_view text, std::string source) : text_(text), source_(std::move(source)) {}

  NpyArray Read() {
    NpyArray array;
    Expect('{');
    while (!Take('}')) {
      const std::string field = Quoted();
      Expect(':');
      if (field == "descr") {
        array.type = Quoted();
      } else if (field == "fortran_order") {
        array.fortran = Truth();
      } else if (field == "shape") {
        array.shape = Shape();
      } else {
        Refuse();
      }
      if (Take(',')) continue;
      Expect('}');
      break;
    }
    return array;
  }

 private:
  [[noreturn]] void Refuse() const {
    Fail(ErrorCode::kFormat, "{}: its header is none of an array of numbers: {}", source_,
         io::Escape(text_));
  }
  void SkipSpaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool Take(char c) {
    SkipSpaces();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void Expect(char c) {
    if (!Take(c)) Refuse();
  }
  std::string Quoted() {
    Expect('\'');
    const std::size_t end = text_.find('\'', at_);
    if (end == std::string_view::npos) Refuse();
    const std::string word(text_.substr(at_, end - at_));
    at_ = end + 1;
    return word;
  }
  bool Truth() {
    SkipSpaces();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    Refuse();
  }
  std::vector<idx_t> Shape() {
    std::vector<idx_t> shape;
    Expect('(');
    while (!Take(')')) {
      SkipSpaces();
      idx_t extent = -1;
      const char *begin = text_.data() + at_, *end = text_.data() + text_.size();
      const auto [stop, error] = std::from_chars(begin, end, extent);
      if (error != std::errc() || extent < 0 || shape.size() == 3) Refuse();
      at_ += static_cast<std::size_t>(stop - begin);
      shape.push_back(extent);
      if (Take(',')) continue;
      Expect(')');
      break;
    }
    return shape;
  }

  std::string_view text_;
  std::string source_;
  std::size_t at_ = 0;
};

// The header, and where the numbers begin.
std::pair<NpyArray, std::uint64_t> ReadNpyHeader(const io::ByteSource& bytes) {
  constexpr std::size_t kBefore = 12;  // magic, version, length of the text: 2 bytes of it or 4
  const std::string source = bytes.source();
  std::string head(std::min<std::uint64_t>(bytes.size(), kBefore), '\0');
  bytes.ReadAt(0, head.data(), head.size());
  Check(head.size() == kBefore && head.starts_with("\x93NUMPY"), ErrorCode::kFormat,
        "{}: is no .npy file, whose first bytes are \\x93NUMPY", source);
  const auto byte = [&](std::size_t i) -> std::uint64_t {
    return static_cast<std::uint8_t>(head[i]);
  };
  Check(byte(6) >= 1 && byte(6) <= 3, ErrorCode::kFormat, "{}: version {} of .npy, need 1 to 3",
        source, byte(6));
  const std::uint64_t begin = byte(6) == 1 ? 10 : 12;
  std::uint64_t length = byte(8) | byte(9) << 8;
  if (byte(6) != 1) length |= byte(10) << 16 | byte(11) << 24;
  Check(length <= limits::kMostNpyHeader && length <= bytes.size() - begin, ErrorCode::kFormat,
        "{}: a header of {} bytes, must have at most {} and lie in the file", source, length,
        limits::kMostNpyHeader);
  std::string text(length, '\0');
  bytes.ReadAt(begin, text.data(), text.size());
  return {NpyDict(text, source).Read(), begin + length};
}

struct NpyType {
  std::string_view name;
  DType type;
};
constexpr NpyType kNpyTypes[] = {
    {"<f4", DType::kF32}, {"<f8", DType::kF64}, {"|i1", DType::kI8}, {"|u1", DType::kU8}};

// fp32 of fp64.
Tensor Narrowed(const Tensor& wide) {
  Tensor result(wide.shape());
  for (idx_t i = 0; i < wide.size(); ++i) {
    result.data<float>()[i] = static_cast<float>(wide.data<double>()[i]);
  }
  return result;
}

VectorFile ReadNpy(const io::ByteSource& bytes) {
  const std::string source = bytes.source();
  const auto [array, begin] = ReadNpyHeader(bytes);
  const auto type = std::find_if(std::begin(kNpyTypes), std::end(kNpyTypes),
                                 [&, &a = array](const NpyType& t) { return t.name == a.type; });
  Check(type != std::end(kNpyTypes), ErrorCode::kFormat,
        "{}: numbers of type '{}' are not read; need <f4, <f8, |i1 or |u1", source,
        io::Escape(array.type));
  const std::size_t dimensions = array.shape.size();
  Check(dimensions == 1 || dimensions == 2, ErrorCode::kFormat,
        "{}: an array of {} dimensions; need one vector, or a matrix (N, width)", source,
        dimensions);
  const idx_t rows = dimensions == 1 ? 1 : array.shape[0], width = array.shape.back();
  CheckWidthOfFile(width, source);
  Check(!array.fortran || dimensions == 1 || rows <= 1, ErrorCode::kFormat,
        "{}: its columns lie together (fortran_order); save numpy.ascontiguousarray of it", source);
  const std::uint64_t row_bytes = static_cast<std::uint64_t>(width) * ElementBytes(type->type);
  const std::uint64_t held = bytes.size() - begin;
  Check(held % row_bytes == 0 && held / row_bytes == static_cast<std::uint64_t>(rows),
        ErrorCode::kFormat, "{}: {} rows of {} bytes are said, {} bytes are there", source, rows,
        row_bytes, held);
  VectorFile file;
  Tensor values({rows, width}, type->type);
  if (rows > 0) bytes.ReadAt(begin, values.raw(), held);
  file.vectors = type->type == DType::kF64 ? Narrowed(values) : std::move(values);
  return file;
}

// ---- JSON ---------------------------------------------------------------------------------------

// What a row of a document is called: its id or its input as it stands; nothing: it has neither.
std::string NameOfRow(const json& row) {
  for (const char* field : {"id", "input"}) {
    const auto found = row.find(field);
    if (found == row.end() || found->is_null()) continue;
    return found->is_string() ? found->get<std::string>() : found->dump();
  }
  return "";
}

// Takes objects with an "embedding" each.
class RowCollector {
 public:
  // `precision`: of rows that do not say theirs.
  void Add(const json& row, const json& precision, const std::string& where) {
    io::CheckObject(row, where);
    const auto values = row.find("embedding");
    Check(values != row.end() && values->is_array(), ErrorCode::kFormat,
          "{}: needs \"embedding\", a list of numbers", where);
    const auto own = row.find("precision");
    const Precision kind = PrecisionIn(own == row.end() ? precision : *own, where);
    const auto width = static_cast<idx_t>(values->size());
    if (names_.empty()) {
      CheckWidthOfFile(width, where);
      precision_ = kind;
      width_ = width;
    }
    Check(width == width_ && kind == precision_, ErrorCode::kFormat,
          "{}: a vector of {} numbers ({}), those before it have {} ({})", where, width,
          PrecisionName(kind), width_, PrecisionName(precision_));
    for (const json& value : *values) AddNumber(value, where);
    const std::string name = NameOfRow(row);
    names_.push_back(name);
  }

  VectorFile Finish() && {
    const auto rows = static_cast<idx_t>(names_.size());
    VectorFile file;
    if (precision_ == Precision::kFloat32) {
      file.vectors = Tensor({rows, width_});
      std::copy(floats_.begin(), floats_.end(), file.vectors.data<float>());
    } else {
      const DType type = precision_ == Precision::kInt8 ? DType::kI8 : DType::kU8;
      file.vectors = Tensor({rows, width_}, type);
      if (!bytes_.empty()) std::memcpy(file.vectors.raw(), bytes_.data(), bytes_.size());
    }
    file.names = std::move(names_);
    return file;
  }
  bool empty() const { return names_.empty(); }

 private:
  static Precision PrecisionIn(const json& value, const std::string& where) {
    if (value.is_null()) return Precision::kFloat32;
    for (const Precision one : {Precision::kFloat32, Precision::kInt8, Precision::kUBinary}) {
      if (value == std::string(PrecisionName(one))) return one;
    }
    Fail(ErrorCode::kFormat, "{}: precision is {}, must be one of float32, int8, ubinary", where,
         io::Escape(value.dump()));
  }

  void AddNumber(const json& value, const std::string& where) {
    if (precision_ == Precision::kFloat32) {
      Check(value.is_number() && std::isfinite(value.get<float>()), ErrorCode::kFormat,
            "{}: \"embedding\" has {}, which is no number of fp32", where,
            io::Escape(value.dump()));
      floats_.push_back(value.get<float>());
      return;
    }
    const int least = precision_ == Precision::kInt8 ? -128 : 0;
    Check(value.is_number_integer() && value >= least && value <= least + 255, ErrorCode::kFormat,
          "{}: \"embedding\" has {}, must be an integer in [{}, {}] ({})", where,
          io::Escape(value.dump()), least, least + 255, PrecisionName(precision_));
    bytes_.push_back(static_cast<std::uint8_t>(value.get<int>()));
  }

  std::vector<std::string> names_;
  std::vector<float> floats_;
  std::vector<std::uint8_t> bytes_;
  Precision precision_ = Precision::kFloat32;
  idx_t width_ = 0;
};

// Calls use(document, "file:3") for each line that is not blank.
template <class Use>
void ForEachLine(const io::ByteSource& bytes, const Use& use) {
  constexpr io::JsonLimits kLine{limits::kMostVectorLine, limits::kJsonDepth,
                                 static_cast<std::size_t>(limits::kMostVectorChannels) + 1024};
  const std::string text = ReadAll(bytes);
  idx_t line = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view one = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++line;
    if (one.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", bytes.source(), line);
    use(io::ParseJson(one, where, kLine), where);
  }
}

VectorFile ReadJsonLines(const io::ByteSource& bytes) {
  RowCollector rows;
  ForEachLine(bytes,
              [&](const json& row, const std::string& where) { rows.Add(row, json(), where); });
  Check(!rows.empty(), ErrorCode::kFormat, "{}: has no vectors", bytes.source());
  return std::move(rows).Finish();
}

VectorFile ReadJsonDocument(const io::ByteSource& bytes) {
  constexpr io::JsonLimits kDocument{limits::kMostVectorDocument, limits::kJsonDepth,
                                     limits::kMostVectorDocumentValues};
  const std::string source = bytes.source();
  Check(bytes.size() <= limits::kMostVectorDocument, ErrorCode::kFormat,
        "{}: {} bytes, at most {} of one document are read; use .npy or .jsonl", source,
        bytes.size(), limits::kMostVectorDocument);
  const json document = io::ParseJson(ReadAll(bytes), source, kDocument);
  const json list = document.is_object() ? document.value("results", json()) : document;
  Check(list.is_array(), ErrorCode::kFormat, "{}: is no list of vectors and has no \"results\"",
        source);
  const json precision = document.is_object() ? document.value("precision", json()) : json();
  RowCollector rows;
  for (std::size_t i = 0; i < list.size(); ++i) {
    rows.Add(list[i], precision, fmt::format("{}: row {}", source, i));
  }
  Check(!rows.empty(), ErrorCode::kFormat, "{}: has no vectors", source);
  return std::move(rows).Finish();
}

void CheckFiniteRows(const VectorFile& file, const std::string& source) {
  if (file.vectors.dtype() != DType::kF32) return;
  const idx_t width = file.vectors.shape()[1];
  const float* x = file.vectors.data<float>();
  for (idx_t i = 0; i < file.vectors.size(); ++i) {
    Check(std::isfinite(x[i]), ErrorCode::kFormat,
          "{}: row {}: number {} is {} as fp32, which is no number", source, i / width, i % width,
          x[i]);
  }
}

VectorForm FormOf(const fs::path& path) {
  const std::string ending = io::LowerAscii(path.extension().string());
  if (ending == ".npy") return VectorForm::kNpy;
  if (ending == ".jsonl" || ending == ".ndjson") return VectorForm::kJsonLines;
  if (ending == ".json") return VectorForm::kJson;
  Fail(ErrorCode::kUsage,
       "{}: vectors are read from .npy, .jsonl, .ndjson and .json; this name ends otherwise",
       io::Escape(path.string()));
}

}  // namespace

VectorFile ReadVectors(const io::ByteSource& bytes, VectorForm form) {
  VectorFile file = form == VectorForm::kNpy         ? ReadNpy(bytes)
                    : form == VectorForm::kJsonLines ? ReadJsonLines(bytes)
                                                     : ReadJsonDocument(bytes);
  CheckFiniteRows(file, bytes.source());
  const auto rows = static_cast<std::size_t>(file.vectors.shape()[0]);
  file.names.resize(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    if (file.names[i].empty()) file.names[i] = fmt::format("row {}", i);
  }
  return file;
}

void NameRows(const io::ByteSource& list, VectorFile& file) {
  std::size_t next = 0;
  ForEachLine(list, [&](const json& line, const std::string& where) {
    Check(line.is_object() && next < file.names.size() && line.value("row", json()) == next,
          ErrorCode::kFormat, "{}: is not row {} of the {} rows of the array beside it", where,
          next, file.names.size());
    const std::string name = NameOfRow(line);
    if (!name.empty()) file.names[next] = name;
    ++next;
  });
  Check(next == file.names.size(), ErrorCode::kFormat,
        "{}: lists {} rows, the array beside it has {}", list.source(), next, file.names.size());
}

VectorFile ReadVectorFile(const fs::path& path) {
  const VectorForm form = FormOf(path);
  VectorFile file = ReadVectors(io::File::OpenRegular(path), form);
  fs::path list = path;
  list.replace_extension(".ids.jsonl");
  if (form == VectorForm::kNpy && io::Exists(list)) NameRows(io::File::OpenRegular(list), file);
  return file;
}

}  // namespace longspan
