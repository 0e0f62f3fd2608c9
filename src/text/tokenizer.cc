#include "longspan/tokenizer.h"

#include <algorithm>

#include "base/errors.h"
#include "longspan/files.h"
#include "text/bytes_tokenizer.h"
#include "text/unicode.h"

namespace longspan::text {
namespace {

class BytesModel final : public Tokenizer {
 public:
  explicit BytesModel(std::optional<idx_t> longest) {
    longest_ = longest;
    special_.pad = BytesTokenizer::kPad;
    special_.eos = BytesTokenizer::kEndOfText;
  }
  std::string_view kind() const override { return "bytes"; }
  idx_t vocabulary() const override { return BytesTokenizer::kVocabulary; }
  std::string TokenOf(std::int32_t id) const override {
    const std::int32_t ids[] = {id};
    return BytesTokenizer::Decode(ids);
  }
  std::optional<std::int32_t> IdOf(std::string_view token) const override {
    if (token.size() != 1) return std::nullopt;
    return BytesTokenizer::Encode(token)[0];
  }
  std::string Decode(std::span<const std::int32_t> ids, bool) const override {
    return BytesTokenizer::Decode(ids);
  }

 protected:
  TokenRow EncodeText(std::string_view text, bool) const override {
    TokenRow row;
    row.ids = BytesTokenizer::Encode(text);
    const Glyphs glyphs = DecodeUtf8(text, row.starts);
    for (idx_t c = 0; c < static_cast<idx_t>(glyphs.size()); ++c) {
      const auto at = static_cast<std::size_t>(c);
      row.chars.insert(row.chars.end(),
                       static_cast<std::size_t>(row.starts[at + 1] - row.starts[at]), {c, c + 1});
    }
    return row;
  }
};

// Lengths of two texts that together have at most `room` tokens, the longer cut first. As the
// `tokenizers` package divides them.
void CutLongest(idx_t room, idx_t& a, idx_t& b) {
  if (a + b <= room) return;
  const bool swapped = a > b;
  idx_t n1 = std::min(a, b);
  idx_t n2 = n1 > room ? n1 : std::max(n1, room - n1);
  if (n1 + n2 > room) {
    n1 = room / 2;
    n2 = n1 + room % 2;
  }
  a = swapped ? n2 : n1;
  b = swapped ? n1 : n2;
}

}  // namespace

std::string_view OverflowName(Overflow overflow) {
  switch (overflow) {
    case Overflow::kTruncate:
      return "truncate";
    case Overflow::kTruncateFirst:
      return "truncate-first";
    case Overflow::kWindow:
      return "window";
    case Overflow::kError:
      break;
  }
  return "error";
}

Overflow ParseOverflow(std::string_view name, std::span<const Overflow> allowed) {
  std::string names;
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    if (OverflowName(allowed[i]) == name) return allowed[i];
    if (i > 0) names += i + 1 < allowed.size() ? ", " : " or ";
    names += OverflowName(allowed[i]);
  }
  Fail(ErrorCode::kUsage, "overflow is '{}', need {}", io::Escape(name), names);
}

idx_t Tokenizer::AddedTokens(bool pair) const {
  const Template& form = pair ? pair_ : single_;
  return std::count_if(form.begin(), form.end(), [](const Piece& p) { return p.sequence < 0; });
}

Encoding Tokenizer::Row(std::span<const TokenRow> rows, std::span<const Part> parts,
                        bool special) const {
  Encoding e;
  const auto put = [&](std::int32_t id, const Piece& piece, Span chars, Span bytes) {
    e.ids.push_back(id);
    e.type_ids.push_back(piece.type);
    e.chars.push_back(chars);
    e.bytes.push_back(bytes);
    e.special.push_back(piece.sequence < 0 ? 1 : 0);
    e.sequence.push_back(static_cast<std::int8_t>(piece.sequence));
  };
  const Template& form = rows.size() == 2 ? pair_ : single_;
  std::size_t tokens = form.size();
  for (const Part& part : parts) tokens += static_cast<std::size_t>(part.end - part.begin);
  e.ids.reserve(tokens);
  e.type_ids.reserve(tokens);
  e.chars.reserve(tokens);
  e.bytes.reserve(tokens);
  e.special.reserve(tokens);
  e.sequence.reserve(tokens);
  for (const Piece& piece : form) {
    if (piece.sequence < 0) {
      if (special) put(piece.id, piece, {}, {});
      continue;
    }
    const auto text = static_cast<std::size_t>(piece.sequence);
    const TokenRow& row = rows[text];
    for (idx_t i = parts[text].begin; i < parts[text].end; ++i) {
      const Span chars = row.chars[static_cast<std::size_t>(i)];
      const Span bytes = {row.starts[static_cast<std::size_t>(chars.begin)],
                          row.starts[static_cast<std::size_t>(chars.end)]};
      put(row.ids[static_cast<std::size_t>(i)], piece, chars, bytes);
    }
  }
  for (std::size_t text = 0; text < rows.size(); ++text) e.first_token[text] = parts[text].begin;
  return e;
}

std::vector<Encoding> Tokenizer::Rows(std::span<const TokenRow> rows,
                                      const EncodeOptions& options) const {
  const bool pair = rows.size() == 2;
  const idx_t added = options.special_tokens ? AddedTokens(pair) : 0;
  Part parts[2];
  idx_t total = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    parts[i].end = static_cast<idx_t>(rows[i].ids.size());
    total += parts[i].end;
  }
  const auto row = [&] { return Row(rows, {parts, rows.size()}, options.special_tokens); };
  if (options.max_length == 0) return {row()};
  const idx_t room = options.max_length - added;
  Check(room >= 1, ErrorCode::kUsage,
        "max length: {} leaves no room for text beside {} special tokens", options.max_length,
        added);
  Check(options.stride >= 0, ErrorCode::kUsage, "stride: {} is negative", options.stride);
  // Said of short texts too: who gives it does not know which text will be the first long one.
  Check(options.overflow != Overflow::kWindow || options.stride <= room, ErrorCode::kUsage,
        "stride: {} must be below the {} tokens of text in a row", options.stride, room);
  if (total <= room) return {row()};
  const idx_t full[2] = {parts[0].end, parts[1].end};
  if (options.overflow == Overflow::kError) {
    Fail(ErrorCode::kLimit,
         "text: {} tokens with {} special ones, max length {}: truncate or use windows",
         total + added, added, options.max_length);
  }
  if (options.overflow != Overflow::kWindow) {
    if (pair && options.overflow == Overflow::kTruncate) {
      CutLongest(room, parts[0].end, parts[1].end);
    } else {
      Check(room > full[1], ErrorCode::kLimit,
            "text: the second text alone has {} tokens, max length {} leaves room for {}", full[1],
            options.max_length, room);
      parts[0].end = room - full[1];
    }
    std::vector<Encoding> one = {row()};
    for (int i = 0; i < 2; ++i) one[0].dropped[i] = full[i] - parts[i].end;
    return one;
  }
  // Windows over the last text; the first of a pair stands in every row.
  Part& moving = parts[pair ? 1 : 0];
  const idx_t width = pair ? room - full[0] : room;
  Check(width >= 1, ErrorCode::kLimit,
        "text: the first text alone has {} tokens, max length {} leaves room for {}", full[0],
        options.max_length, room);
  Check(options.stride < width, ErrorCode::kUsage,
        "stride: {} must be below the {} tokens of text in a window", options.stride, width);
  std::vector<Encoding> windows;
  const idx_t last = moving.end;
  for (idx_t begin = 0;; begin += width - options.stride) {
    moving = {begin, std::min(begin + width, last)};
    windows.push_back(row());
    if (moving.end == last) return windows;
  }
}

std::vector<Encoding> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  const TokenRow rows[] = {EncodeText(text, options.continues)};
  return Rows(rows, options);
}

std::vector<Encoding> Tokenizer::EncodePair(std::string_view first, std::string_view second,
                                            const EncodeOptions& options) const {
  const TokenRow rows[] = {EncodeText(first, options.continues), EncodeText(second, false)};
  return Rows(rows, options);
}

std::unique_ptr<Tokenizer> MakeBytesTokenizer(std::optional<idx_t> longest) {
  return std::make_unique<BytesModel>(longest);
}

}  // namespace longspan::text
