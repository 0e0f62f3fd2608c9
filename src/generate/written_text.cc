#include "generate/written_text.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/errors.h"

namespace longspan {
namespace {

// Tokens of the prompt that are spelt together with the first new ones.
constexpr std::size_t kPromptTokens = 6;
std::size_t Longest(const std::vector<std::string>& stops) {
  std::size_t longest = 0;
  for (const std::string& stop : stops) longest = std::max(longest, stop.size());
  return longest;
}

}  // namespace

void CheckStops(std::span<const std::string> stops) {
  for (const std::string& stop : stops) {
    Check(!stop.empty(), ErrorCode::kUsage, "stop: a stop string is empty");
  }
}

WrittenText::WrittenText(const text::Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
                         std::vector<std::string> stops)
    : decoder_(tokenizer, prompt.last(std::min(prompt.size(), kPromptTokens))),
      stops_(std::move(stops)) {
  CheckStops(stops_);
}

std::string WrittenText::Add(std::int32_t id) {
  if (stopped_) return "";
  Append(decoder_.Add(id));
  if (stopped_) return Show(text_.size());
  // The longest end that a stop string begins with waits for what follows.
  std::size_t held = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, text_.size()); n > held; --n) {
      if (std::string_view(text_).ends_with(std::string_view(stop).substr(0, n))) held = n;
    }
  }
  return Show(text_.size() - held);
}

std::string WrittenText::Finish() {
  if (!stopped_) Append(decoder_.Finish());
  return Show(text_.size());
}

void WrittenText::Append(const std::string& piece) {
  const std::size_t from = text_.size();
  text_ += piece;
  FindStop(from);
}

// Looks for the first stop string that ends behind `new_from`, and cuts the text before it.
void WrittenText::FindStop(std::size_t new_from) {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t from = new_from - std::min(new_from, stop.size() - 1);
    first = std::min(first, text_.find(stop, from));
  }
  if (first == std::string::npos) return;
  text_.resize(first);
  stopped_ = true;
}

std::string WrittenText::Show(std::size_t end) {
  if (end <= shown_) return "";
  const std::size_t begin = std::exchange(shown_, end);
  return text_.substr(begin, end - begin);
}

bool EndsInStop(const text::Tokenizer& tokenizer, std::span<const std::int32_t> written,
                const std::vector<std::string>& stops) {
  if (stops.empty() || written.empty()) return false;
  // A token is at least a byte of text, but for special ones: as many as the longest and some more.
  const std::size_t tail = std::min(written.size(), Longest(stops) + kPromptTokens);
  WrittenText text(tokenizer, written.first(written.size() - tail), stops);
  for (const std::int32_t id : written.last(tail)) text.Add(id);
  text.Finish();
  return text.stopped();
}

}  // namespace longspan
