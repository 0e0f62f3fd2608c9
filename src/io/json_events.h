// The parser under every JSON reader here: nlohmann's SAX lexer, made strict. Internal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/errors.h"
#include "io/file_hint.h"
#include "longspan/files.h"

namespace longspan::io {

// What is wrong with a text that is no JSON, and at which of its bytes.
struct JsonFault {
  std::size_t at = 0;
  std::string what;
};
// In words of our own. `position`, `last_token` and `library` are what nlohmann's parser says.
JsonFault FaultOf(std::string_view text, std::size_t position, std::string_view last_token,
                  std::string_view library);
// "line 3, column 12", both from 1, in characters.
std::string PlaceIn(std::string_view text, std::size_t at);

// A byte iterator that tells how far the lexer has come: events can name their offset.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator() = default;
  CountingIterator(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_ = nullptr;
  const char** reached_ = nullptr;
};

// Base of event handlers: position, depth cap and refusals. `base` is the file offset of the
// text's first byte.
class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonEvents(std::string_view text, std::string_view source, int most_depth, std::size_t base = 0)
      : text_(text), source_(source), reached_(text.data()), base_(base), most_depth_(most_depth) {}

  // Runs the parser over the text; refusals throw kFormat from inside.
  void Run() {
    // The lexer takes these two for the end of the text and for nothing: neither is JSON.
    Require(!text_.starts_with("\xef\xbb\xbf"), "byte-order mark");
    reached_ = text_.data() + std::min(text_.find('\0'), text_.size());
    Require(reached_ == text_.data() + text_.size(), "NUL byte");
    reached_ = text_.data();
    const char* end = text_.data() + text_.size();
    const bool ok = nlohmann::json::sax_parse(CountingIterator(text_.data(), &reached_),
                                              CountingIterator(end, &reached_), this);
    Require(ok, "not JSON");
  }

  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::json::exception& error) final {
    const JsonFault fault = FaultOf(text_, position, last_token, error.what());
    const std::string place = base_ == 0 ? PlaceIn(text_, fault.at) + ": " : "";
    Fail(ErrorCode::kFormat, "{}: byte {}: {}{}{}", source_, base_ + fault.at, place, fault.what,
         Hint());
  }

 protected:
  std::size_t offset() const { return base_ + static_cast<std::size_t>(reached_ - text_.data()); }
  std::string_view source() const { return source_; }
  void Require(bool ok, std::string_view what) const {
    if (!ok) [[unlikely]] {
      Fail(ErrorCode::kFormat, "{}: byte {}: {}{}", source_, offset(), what, Hint());
    }
  }
  void Enter() {
    if (++depth_ > most_depth_) [[unlikely]] {
      Fail(ErrorCode::kFormat, "{}: byte {}: nested deeper than {}", source_, offset(),
           most_depth_);
    }
  }
  void Leave() { --depth_; }

 private:
  // What the file is instead, if it is something that people download by mistake.
  std::string Hint() const { return base_ == 0 ? FileHint(text_) : std::string(); }

  std::string_view text_, source_;
  const char* reached_;
  std::size_t base_;
  int depth_ = 0, most_depth_;
};

}  // namespace longspan::io
