#include "data/json_text.h"

#include <algorithm>

#include "base/errors.h"
#include "io/json.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

constexpr std::string_view kSpace = " \t\n\r";

bool IsSpace(char c) { return kSpace.find(c) != std::string_view::npos; }

// A walk over one object or list.
class MemberWalk {
 public:
  MemberWalk(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  void Run(const std::function<void(std::string_view, std::string_view)>& use) {
    SkipSpace();
    const char open = Peek();
    if (open != '{' && open != '[') Refuse("neither an object nor a list begins here");
    const char close = open == '{' ? '}' : ']';
    ++at_;
    SkipSpace();
    if (Peek() == close) {
      ++at_;
    } else {
      while (Member(open == '{', close, use)) {
      }
    }
    SkipSpace();
    if (at_ != text_.size()) Refuse("bytes behind the end");
  }

 private:
  char Peek() const {
    if (at_ == text_.size()) Refuse("ends too early");
    return text_[at_];
  }
  void SkipSpace() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }
  [[noreturn]] void Refuse(std::string_view why) const {
    Fail(ErrorCode::kFormat, "{}: byte {}: {}", where_, at_, why);
  }
  std::string_view Value() {
    Peek();
    JsonEnd end;
    const std::size_t begin = at_;
    const std::size_t found = end.Find(text_, at_, where_);
    if (found == std::string_view::npos && !end.IsScalar()) {
      at_ = text_.size();
      Refuse("ends too early");
    }
    at_ = std::min(found, text_.size());
    return text_.substr(begin, at_ - begin);
  }
  // A name that cannot be decoded is one that nobody asks for, and stays as it stands.
  std::string Name(std::string_view raw) const {
    if (raw.find('\\') != std::string_view::npos) {
      try {
        return io::ParseJson(raw, where_).get<std::string>();
      } catch (const Error&) {
      }
    }
    return std::string(raw.substr(1, raw.size() - 2));
  }
  // False behind the last one.
  bool Member(bool named, char close,
              const std::function<void(std::string_view, std::string_view)>& use) {
    SkipSpace();
    std::string key;
    if (named) {
      if (Peek() != '"') Refuse("a name in double quotes must stand here");
      const std::string_view raw = Value();
      key = Name(raw);
      SkipSpace();
      if (Peek() != ':') Refuse("a colon must stand here");
      ++at_;
      SkipSpace();
    }
    use(key, Value());
    SkipSpace();
    const char next = Peek();
    if (next != close && next != ',') Refuse("a comma or the end must stand here");
    ++at_;
    return next == ',';
  }

  std::string_view text_, where_;
  std::size_t at_ = 0;
};

}  // namespace

std::string_view TrimJson(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  const std::size_t end = text.find_last_not_of(kSpace);
  return begin == text.size() ? std::string_view() : text.substr(begin, end + 1 - begin);
}

// True when `c` ends the value and is its last byte.
bool JsonEnd::Step(char c, std::string_view where) {
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      return open_.empty();
    }
    return false;
  }
  switch (c) {
    case '"':
      in_string_ = true;
      return false;
    case '{':
    case '[':
      open_.push_back(c);
      return false;
    case '}':
    case ']': {
      const char opened = c == '}' ? '{' : '[';
      Check(!open_.empty() && open_.back() == opened, ErrorCode::kFormat,
            "{}: not JSON: '{}' closes what was not opened", where, c);
      open_.pop_back();
      return open_.empty();
    }
    default:
      return false;
  }
}

std::size_t JsonEnd::Find(std::string_view text, std::size_t at, std::string_view where) {
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (!begun_) {
      begun_ = true;
      scalar_ = c != '{' && c != '[' && c != '"';
      Check(!scalar_ || (c != ',' && c != ':' && c != '}' && c != ']'), ErrorCode::kFormat,
            "{}: not JSON: '{}' where a value must begin", where, c);
    }
    if (scalar_) {
      if (c == ',' || c == '}' || c == ']' || IsSpace(c)) return at;
      continue;
    }
    if (Step(c, where)) return at + 1;
  }
  return std::string_view::npos;
}

void ForEachMember(std::string_view text, std::string_view where,
                   const std::function<void(std::string_view key, std::string_view value)>& use) {
  MemberWalk(text, where).Run(use);
}

}  // namespace longspan::data
