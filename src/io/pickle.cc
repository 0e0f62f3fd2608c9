#include "io/pickle.h"

#include <string>
#include <unordered_map>

#include "base/errors.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

enum class Role { kOrderedDict, kTensor, kParameter, kSize, kStorage, kConstant };

struct Global {
  std::string_view module, name;
  Role role;
  DType dtype = DType::kF32;
};
// Exact names, nothing else. Storage classes say the element type.
constexpr Global kGlobals[] = {
    {"collections", "OrderedDict", Role::kOrderedDict},
    {"torch._utils", "_rebuild_tensor_v2", Role::kTensor},
    {"torch._utils", "_rebuild_parameter", Role::kParameter},
    {"torch", "Size", Role::kSize},
    {"torch", "DoubleStorage", Role::kStorage, DType::kF64},
    {"torch", "FloatStorage", Role::kStorage, DType::kF32},
    {"torch", "HalfStorage", Role::kStorage, DType::kF16},
    {"torch", "BFloat16Storage", Role::kStorage, DType::kBF16},
    {"torch", "LongStorage", Role::kStorage, DType::kI64},
    {"torch", "IntStorage", Role::kStorage, DType::kI32},
    {"torch", "ShortStorage", Role::kStorage, DType::kI16},
    {"torch", "CharStorage", Role::kStorage, DType::kI8},
    {"torch", "ByteStorage", Role::kStorage, DType::kU8},
    {"torch", "BoolStorage", Role::kStorage, DType::kBool},
    {"torch", "float64", Role::kConstant},
    {"torch", "float32", Role::kConstant},
    {"torch", "float16", Role::kConstant},
    {"torch", "bfloat16", Role::kConstant},
    {"torch", "int64", Role::kConstant},
    {"torch", "int32", Role::kConstant},
};
// Tensors of kinds that have no use here: refused like every other name, with a better reason.
constexpr std::string_view kOtherTensors[] = {"_rebuild_qtensor",
                                              "_rebuild_sparse_tensor",
                                              "_rebuild_nested_tensor",
                                              "_rebuild_tensor_v3",
                                              "_rebuild_meta_tensor_no_storage",
                                              "ComplexFloatStorage",
                                              "ComplexDoubleStorage",
                                              "QInt8Storage",
                                              "QUInt8Storage",
                                              "QInt32Storage",
                                              "UntypedStorage"};

class Machine {
 public:
  Machine(std::string_view bytes, std::string_view source, std::uint64_t base,
          const PickleLimits& limits)
      : bytes_(bytes), source_(source), base_(base), limits_(limits) {}

  Pickle Run() {
    Require(Byte() == 0x80 && Byte() == 2, "no pickle of protocol 2, which torch.save writes");
    for (std::size_t count = 0;; ++count) {
      operation_ = at_;
      Require(count < limits_.operations, "too many operations");
      const unsigned char code = Byte();
      if (code == '.') break;
      if (!Constant(code) && !Container(code)) Operation(code);
    }
    Require(marks_.empty() && stack_.size() == 1, "it does not end with one value");
    pickle_.root = stack_.front();
    pickle_.end = at_;
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void Refuse(std::string_view what) const {
    Fail(ErrorCode::kFormat, "{}: byte {}: pickle: {}", source_, base_ + operation_, what);
  }
  void Require(bool ok, std::string_view what) const {
    if (!ok) [[unlikely]]
      Refuse(what);
  }

  std::string_view Take(std::uint64_t count) {
    Require(count <= bytes_.size() - at_, "it is cut off");
    const std::string_view piece = bytes_.substr(at_, static_cast<std::size_t>(count));
    at_ += static_cast<std::size_t>(count);
    return piece;
  }
  unsigned char Byte() { return static_cast<unsigned char>(Take(1)[0]); }
  std::uint64_t Number(std::size_t width) {
    const std::string_view piece = Take(width);
    std::uint64_t value = 0;
    for (std::size_t i = width; i-- > 0;) {
      value = (value << 8) | static_cast<unsigned char>(piece[i]);
    }
    return value;
  }
  // Two's complement of any width up to 8.
  std::int64_t Signed(std::size_t width) {
    std::uint64_t value = Number(width);
    if (width > 0 && width < 8 && (value >> (8 * width - 1)) != 0) {
      value |= ~std::uint64_t{0} << (8 * width);
    }
    return static_cast<std::int64_t>(value);
  }
  std::string_view Line() {
    const std::size_t end = bytes_.find('\n', at_);
    Require(end != bytes_.npos, "it is cut off");
    const std::string_view line = Take(end - at_);
    ++at_;
    return line;
  }

  PickleValue& Value(PickleRef ref) { return pickle_.values[ref]; }
  bool Is(PickleRef ref, PickleKind kind) { return Value(ref).kind == kind; }
  PickleRef Push(PickleRef ref) {
    Require(stack_.size() < limits_.stack, "its stack grows too deep");
    stack_.push_back(ref);
    return ref;
  }
  PickleValue& New(PickleKind kind, std::int64_t number = 0) {
    Push(static_cast<PickleRef>(pickle_.values.size()));
    pickle_.values.push_back({kind, number, {}, {}});
    return pickle_.values.back();
  }
  // Values below the last mark are out of reach until it is taken.
  PickleRef Pop() {
    Require(stack_.size() > (marks_.empty() ? 0 : marks_.back()),
            "it takes a value that is not there");
    const PickleRef ref = stack_.back();
    stack_.pop_back();
    return ref;
  }
  PickleRef Top() {
    const PickleRef ref = Pop();
    stack_.push_back(ref);
    return ref;
  }
  std::vector<PickleRef> PopToMark() {
    Require(!marks_.empty(), "it takes a mark that is not there");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleRef> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void Tuple(std::size_t count) {
    std::vector<PickleRef> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = Pop();
    New(PickleKind::kTuple).items = std::move(items);
  }
  void Text(std::uint64_t bytes) {
    const std::string_view text = Take(bytes);
    Require(IsUtf8(text), "a text that is not UTF-8");
    New(PickleKind::kText).text = text;
  }

  bool Constant(unsigned char code) {
    switch (code) {
      case 'N':
        New(PickleKind::kNone);
        return true;
      case 0x88:
      case 0x89:
        New(PickleKind::kBool, code == 0x88 ? 1 : 0);
        return true;
      case 'J':
        New(PickleKind::kInt, Signed(4));
        return true;
      case 'K':
        New(PickleKind::kInt, Byte());
        return true;
      case 'M':
        New(PickleKind::kInt, static_cast<std::int64_t>(Number(2)));
        return true;
      case 0x8a: {
        const std::size_t width = Byte();
        Require(width <= 8, "an integer of more than 8 bytes");
        New(PickleKind::kInt, Signed(width));
        return true;
      }
      case 'G':
        Take(8);
        New(PickleKind::kFloat);
        return true;
      case 'X':
        Text(Number(4));
        return true;
      case 'U':
        Text(Byte());
        return true;
      default:
        return false;
    }
  }

  bool Container(unsigned char code) {
    switch (code) {
      case '(':
        Require(marks_.size() < limits_.stack, "its marks grow too deep");
        marks_.push_back(stack_.size());
        return true;
      case ')':
        New(PickleKind::kTuple);
        return true;
      case ']':
        New(PickleKind::kList);
        return true;
      case '}':
        New(PickleKind::kDict);
        return true;
      case 't': {
        std::vector<PickleRef> items = PopToMark();
        New(PickleKind::kTuple).items = std::move(items);
        return true;
      }
      case 0x85:
      case 0x86:
      case 0x87:
        Tuple(code - 0x84u);
        return true;
      case 'a': {
        const PickleRef item = Pop();
        Append({item});
        return true;
      }
      case 'e':
        Append(PopToMark());
        return true;
      case 's': {
        const PickleRef value = Pop(), key = Pop();
        SetItems({key, value});
        return true;
      }
      case 'u':
        SetItems(PopToMark());
        return true;
      default:
        return false;
    }
  }

  void Operation(unsigned char code) {
    switch (code) {
      case 'q':
        return Remember(Byte());
      case 'r':
        return Remember(Number(4));
      case 'h':
        return Recall(Byte());
      case 'j':
        return Recall(Number(4));
      case 'c':
        return PushGlobal();
      case 'R':
        return Reduce();
      case 'b':
        return Build();
      case 'Q':
        return Persistent();
      default:
        Refuse(
            fmt::format("operation 0x{:02x} is not among those that tables of tensors need", code));
    }
  }

  void Append(const std::vector<PickleRef>& items) {
    const PickleRef list = Top();
    Require(Is(list, PickleKind::kList), "it appends to what is no list");
    auto& into = Value(list).items;
    into.insert(into.end(), items.begin(), items.end());
  }
  void SetItems(const std::vector<PickleRef>& items) {
    const PickleRef dict = Top();
    Require(Is(dict, PickleKind::kDict), "it sets items of what is no dict");
    Require(items.size() % 2 == 0, "a key without a value");
    for (std::size_t i = 0; i < items.size(); i += 2) {
      Require(Is(items[i], PickleKind::kText), "a key of a dict is no text");
    }
    auto& into = Value(dict).items;
    into.insert(into.end(), items.begin(), items.end());
  }
  void Remember(std::uint64_t id) {
    const PickleRef ref = Top();
    Require(memo_.size() < limits_.memo || memo_.count(id) != 0, "it remembers too many values");
    memo_[id] = ref;
  }
  void Recall(std::uint64_t id) {
    const auto found = memo_.find(id);
    Require(found != memo_.end(), "it recalls what was not remembered");
    Push(found->second);
  }

  void PushGlobal() {
    const std::string_view module = Line(), name = Line();
    for (std::size_t i = 0; i < std::size(kGlobals); ++i) {
      if (kGlobals[i].module != module || kGlobals[i].name != name) continue;
      New(PickleKind::kGlobal, static_cast<std::int64_t>(i)).text = name;
      return;
    }
    for (const std::string_view other : kOtherTensors) {
      if (module.starts_with("torch") && name == other) {
        Refuse(
            fmt::format("{}.{}: tensors of this kind are not read; save the model as safetensors",
                        Escape(module), name));
      }
    }
    Refuse(fmt::format("global {}.{} not allowed: only tensors are read, nothing is run",
                       Escape(module), Escape(name)));
  }

  bool IsEmptyHooks(PickleRef ref) {
    return Is(ref, PickleKind::kDict) && Value(ref).items.empty();
  }

  void Reduce() {
    const PickleRef args = Pop(), callable = Pop();
    Require(Is(callable, PickleKind::kGlobal) && Is(args, PickleKind::kTuple),
            "it calls what is not on the list");
    const std::vector<PickleRef> items = Value(args).items;
    switch (kGlobals[Value(callable).number].role) {
      case Role::kOrderedDict:
        return OrderedDict(items);
      case Role::kTensor:
        return MakeTensor(items);
      case Role::kParameter:
        Require(
            items.size() == 3 && Is(items[0], PickleKind::kTensor) &&
                Is(items[1], PickleKind::kBool) && IsEmptyHooks(items[2]),
            "_rebuild_parameter with other arguments than a tensor, a truth value and no hooks");
        Push(items[0]);
        return;
      case Role::kSize:
        Require(items.size() == 1 && Is(items[0], PickleKind::kTuple),
                "torch.Size of other things than a tuple");
        Push(items[0]);
        return;
      case Role::kStorage:
      case Role::kConstant:
        break;
    }
    Refuse(fmt::format("it calls {}, which is no function", Value(callable).text));
  }

  // Python 2 hands the pairs over at once.
  void OrderedDict(const std::vector<PickleRef>& arguments) {
    const bool pairs = arguments.size() == 1 && Is(arguments[0], PickleKind::kList);
    Require(arguments.empty() || pairs, "an OrderedDict of other things than pairs");
    New(PickleKind::kDict, 1);
    if (!pairs) return;
    const std::vector<PickleRef> list = Value(arguments[0]).items;
    for (const PickleRef pair : list) {
      Require((Is(pair, PickleKind::kList) || Is(pair, PickleKind::kTuple)) &&
                  Value(pair).items.size() == 2,
              "an OrderedDict of other things than pairs");
      Require(++pairs_ <= limits_.operations, "too many operations");
      SetItems(Value(pair).items);
    }
  }

  void MakeTensor(const std::vector<PickleRef>& a) {
    const bool fits = (a.size() == 6 || a.size() == 7) && Is(a[0], PickleKind::kStorage) &&
                      Is(a[1], PickleKind::kInt) && Is(a[2], PickleKind::kTuple) &&
                      Is(a[3], PickleKind::kTuple) && Is(a[4], PickleKind::kBool) &&
                      IsEmptyHooks(a[5]);
    Require(fits,
            "_rebuild_tensor_v2 with other arguments than a storage, an offset, a shape, "
            "strides, a truth value and no hooks");
    if (a.size() == 7) {
      Require(Is(a[6], PickleKind::kNone) || Is(a[6], PickleKind::kDict),
              "_rebuild_tensor_v2 with unknown metadata");
    }
    New(PickleKind::kTensor).items = {a[0], a[1], a[2], a[3]};
  }

  // Attributes of a table of tensors (its _metadata): checked for their kind and dropped.
  void Build() {
    const PickleRef state = Pop(), target = Top();
    Require(
        Is(target, PickleKind::kDict) && Value(target).number == 1 && Is(state, PickleKind::kDict),
        "it sets attributes of what is no OrderedDict");
  }

  void Persistent() {
    const PickleRef id = Pop();
    Require(Is(id, PickleKind::kTuple), "a persistent id that is no storage");
    const std::vector<PickleRef> a = Value(id).items;
    const bool is_storage = (a.size() == 5 || a.size() == 6) && Is(a[0], PickleKind::kText) &&
                            Value(a[0]).text == "storage";
    Require(is_storage, "a persistent id that is no storage");
    Require(Is(a[1], PickleKind::kGlobal) && kGlobals[Value(a[1]).number].role == Role::kStorage &&
                Is(a[2], PickleKind::kText) && Is(a[3], PickleKind::kText) &&
                Is(a[4], PickleKind::kInt),
            "a storage without type, key, place or length");
    if (a.size() == 6) {
      Require(Is(a[5], PickleKind::kNone) || Is(a[5], PickleKind::kTuple),
              "a storage's unknown view");
    }
    New(PickleKind::kStorage).items.assign(a.begin() + 1, a.end());
  }

  std::string_view bytes_, source_;
  std::uint64_t base_;
  PickleLimits limits_;
  std::size_t at_ = 0, operation_ = 0, pairs_ = 0;
  Pickle pickle_;
  std::vector<PickleRef> stack_;
  std::vector<std::size_t> marks_;  // sizes of the stack
  std::unordered_map<std::uint64_t, PickleRef> memo_;
};

}  // namespace

const char* PickleKindName(PickleKind kind) {
  constexpr const char* kNames[] = {"None",   "a truth value", "an integer", "a number",
                                    "a text", "a tuple",       "a list",     "a dict",
                                    "a name", "a storage",     "a tensor"};
  return kNames[static_cast<std::size_t>(kind)];
}

DType StorageType(const PickleValue& global, std::string_view source) {
  const bool is_storage =
      global.kind == PickleKind::kGlobal && kGlobals[global.number].role == Role::kStorage;
  Check(is_storage, ErrorCode::kFormat, "{}: pickle: a storage without a type", source);
  return kGlobals[global.number].dtype;
}

Pickle ReadPickle(std::string_view bytes, std::string_view source, std::uint64_t base,
                  const PickleLimits& limits) {
  return Machine(bytes, source, base, limits).Run();
}

}  // namespace longspan::io
