// A pickle as data: a machine for the few operations that a saved table of tensors consists of.
// There is nothing in it that could import, call or run anything: a global name is looked up in a
// fixed list, and "calling" it builds one of three kinds of values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "longspan/types.h"

namespace longspan::io {

struct PickleLimits {
  std::size_t operations = limits::kPickleOperations;
  std::size_t stack = limits::kPickleStack;
  std::size_t memo = limits::kPickleMemo;
};

// A value's place in PickleValues: values may share parts and even contain themselves.
using PickleRef = std::uint32_t;

enum class PickleKind : std::uint8_t {
  kNone,
  kBool,    // number
  kInt,     // number
  kFloat,   // its value is of no use here
  kText,    // text
  kTuple,   // items
  kList,    // items
  kDict,    // items: key, value, key, value; keys are kText. number 1: an OrderedDict
  kGlobal,  // number: an index for GlobalName and StorageType
  // items: storage type (kGlobal), key (kText), place (kText), elements (kInt) and, in legacy
  // files, the view (kNone or kTuple): types are checked, values are not.
  kStorage,
  // items: storage (kStorage), offset (kInt), shape (kTuple), strides (kTuple of kInt).
  kTensor,
};
const char* PickleKindName(PickleKind kind);

struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  std::int64_t number = 0;
  std::string_view text;  // inside the pickle's bytes
  std::vector<PickleRef> items;
};

struct Pickle {
  std::deque<PickleValue> values;
  PickleRef root = 0;
  std::size_t end = 0;  // the byte behind STOP

  const PickleValue& at(PickleRef ref) const { return values[ref]; }
};

// The element type of a storage class ("torch FloatStorage"); throws kFormat for another global.
DType StorageType(const PickleValue& global, std::string_view source);

// Runs one pickle of protocol 2 from the start of `bytes`, which must outlive the result. Memory
// and time are linear in the operations. kFormat names the byte (counted from `base`) and the
// operation, the global or the value that is not allowed.
Pickle ReadPickle(std::string_view bytes, std::string_view source, std::uint64_t base = 0,
                  const PickleLimits& limits = {});

}  // namespace longspan::io
