// Values of Python as those of the library, and back.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/model_info.h"
#include "longspan/named_options.h"
#include "longspan/tasks.h"
#include "longspan/tensor.h"
#include "longspan/tokenizer.h"
#include "longspan/types.h"
#include "models_worker.h"

namespace longspan::python {

// ---- to Python ----------------------------------------------------------------------------------

// A str. Bytes that are no UTF-8, which a model of bytes may write, become U+FFFD.
nanobind::str TextObject(std::string_view text);
// A str of a path, with its undecodable bytes as os.fsdecode has them.
nanobind::object PathObject(const std::filesystem::path& path);
// A NumPy array over the tensor's memory, which it owns, of this shape: fp32, int8 or uint8.
// Nothing is copied.
nanobind::object ArrayObject(Tensor tensor, const std::vector<idx_t>& shape);
// A list of integers.
nanobind::list IdList(std::span<const std::int32_t> ids);
// (begin, end).
nanobind::tuple SpanObject(const text::Span& span);
nanobind::list TextObjects(std::span<const std::string> texts);
nanobind::list NumberObjects(std::span<const double> numbers);
// What info() of a model says, by name.
nanobind::dict InfoObject(const ModelInfo& info);
// A float, or None where the number is no number.
nanobind::object NumberOrNone(double number);

// ---- from Python --------------------------------------------------------------------------------

// str as UTF-8, bytes as they are. DTypeError "<name> is int, need str" for anything else,
// UsageError for a str with half of a surrogate pair.
std::string TextOf(nanobind::handle object, const std::string& name);
// A list of these; element 3 is called "<name>[3]".
std::vector<std::string> TextsOf(nanobind::handle list, const char* name);
// A list of str, or of (str, str) pairs.
std::vector<TaskText> TaskTextsOf(nanobind::handle list, const char* name);
// str, bytes or os.PathLike.
std::filesystem::path PathOf(nanobind::handle object, const std::string& name);
// A sequence of integers. UsageError for one that 32 bits cannot hold.
std::vector<std::int32_t> IdsOf(nanobind::handle list, const std::string& name);

// Named values of a dict. Names that are absent or None leave a field as it is. Each Read has a
// DTypeError that begins "<function>: <name>".
class Options final : public NamedOptions {
 public:
  Options(const char* function, nanobind::dict values)
      : function_(function), values_(std::move(values)) {}

  using NamedOptions::Read;
  bool Has(const char* name) const override { return !Get(name).is_none(); }
  void Read(const char* name, bool& field) override;
  void Read(const char* name, int& field) override;
  void Read(const char* name, idx_t& field) override;
  void Read(const char* name, std::uint64_t& field) override;
  void Read(const char* name, double& field) override;
  void Read(const char* name, std::string& field) override;
  void Read(const char* name, char& field) override;
  void Read(const char* name, std::filesystem::path& field) override;
  void Read(const char* name, std::vector<idx_t>& field) override;
  void Read(const char* name, std::vector<std::string>& field) override;
  void Read(const char* name, std::vector<std::filesystem::path>& field) override;
  // The value, or None; for callables.
  nanobind::object Get(const char* name) const;
  const char* function() const { return function_; }

 private:
  std::string Place(const char* name) const;
  [[noreturn]] void Fail(const char* name, const char* need) const;
  long long Integer(const char* name) const;

  const char* function_;
  nanobind::dict values_;
};

// threads, memory_limit, cancel, progress.
CallOptions ReadCall(Options options);
// dtype, attention, num_hashes, lm_bias, strict, allow_nonfinite, head.
ModelOptions ReadModelOptions(Options options);

}  // namespace longspan::python
