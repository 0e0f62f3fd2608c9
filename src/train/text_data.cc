#include "train/text_data.h"

#include <algorithm>

#include "base/errors.h"
#include "base/rng.h"
#include "text/bytes_tokenizer.h"

namespace longspan {
namespace {

idx_t BytesIn(const std::vector<data::CorpusFile>& files) {
  idx_t sum = 0;
  for (const data::CorpusFile& file : files) sum += static_cast<idx_t>(file.text().size());
  return sum;
}

// Joins several texts, one after another. A single text is not copied.
std::string Joined(const std::vector<data::CorpusFile>& files) {
  std::string joined;
  for (const data::CorpusFile& file : files) joined += files.size() > 1 ? file.text() : "";
  return joined;
}
std::string_view AllOf(const std::vector<data::CorpusFile>& files, const std::string& joined) {
  return files.size() == 1 ? files.front().text() : std::string_view(joined);
}

}  // namespace

idx_t LastPart(idx_t size, double share) {
  return static_cast<idx_t>(static_cast<double>(size) * share);
}

void CheckEvaluatedShare(double share) {
  Check(share > 0.0 && share <= 1.0, ErrorCode::kUsage, "held-out: {} is not above 0 and at most 1",
        share);
}

std::span<const std::uint8_t> HeldOutPart(std::span<const std::uint8_t> bytes, double share) {
  const auto count = static_cast<std::size_t>(LastPart(static_cast<idx_t>(bytes.size()), share));
  return bytes.last(std::min(count, bytes.size()));
}

std::span<const std::uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

data::CorpusRules CorpusRulesFor(const DataOptions& options, bool of_bytes,
                                 const std::filesystem::path& near) {
  data::CorpusRules rules;
  rules.options = options;
  rules.any_bytes = of_bytes;
  rules.scratch_near = near;
  return rules;
}

LastText::LastText(const std::filesystem::path& path, const DataOptions& options, bool of_bytes,
                   double share) {
  CheckEvaluatedShare(share);
  corpus = data::ReadCorpus({path}, CorpusRulesFor(options, of_bytes));
  joined = Joined(corpus.files);
  all = AllOf(corpus.files, joined);
  std::size_t last = HeldOutPart(BytesOf(all), share).size();
  // A character that begins before it stays there.
  while (!of_bytes && last > 0 &&
         (static_cast<unsigned char>(all[all.size() - last]) & 0xC0) == 0x80) {
    --last;
  }
  text = all.substr(all.size() - last);
}

TextParts ReadTextParts(const std::vector<std::filesystem::path>& train,
                        const std::filesystem::path& eval, double held_out, idx_t tokens,
                        const data::CorpusRules& rules, bool digest, const UseText& use) {
  Check(!train.empty(), ErrorCode::kUsage, "train: no training text given");
  TextParts parts;
  const auto give = [&](data::CorpusFile file, bool held) {
    (held ? parts.held_out_bytes : parts.train_bytes) += static_cast<idx_t>(file.text().size());
    // What is cut off from a text is part of that one's fingerprint.
    if (digest && (!held || !eval.empty())) {
      parts.fingerprint += (parts.fingerprint.empty() ? "" : " ") + file.Fingerprint();
    }
    use(std::move(file), held);
  };
  const data::Corpus told = data::ReadCorpus(train, rules, [&](data::CorpusFile file, bool last) {
    data::CorpusFile end;
    const bool cut = last && eval.empty();
    if (cut) {
      const std::size_t size = file.text().size();
      const auto count = static_cast<std::size_t>(LastPart(static_cast<idx_t>(size), held_out));
      file.Split(size - std::min(count, size), rules.any_bytes, &end);
    }
    give(std::move(file), false);
    if (cut) give(std::move(end), true);
  });
  parts.notes = told.notes;
  if (!eval.empty()) {
    const data::Corpus rest = data::ReadCorpus(
        {eval}, rules, [&](data::CorpusFile file, bool) { give(std::move(file), true); });
    parts.notes.insert(parts.notes.end(), rest.notes.begin(), rest.notes.end());
  }
  Check(parts.train_bytes > tokens, ErrorCode::kUsage,
        "train: the text has {} bytes to train on, rows of {} tokens need {}", parts.train_bytes,
        tokens, tokens + 1);
  Check(parts.held_out_bytes >= 2, ErrorCode::kUsage,
        "train: the held-out part has {} bytes, need at least 2; raise --held-out or give --eval",
        parts.held_out_bytes);
  if (digest) parts.fingerprint += fmt::format(" held out {}", parts.held_out_bytes);
  return parts;
}

TextData::TextData(const std::vector<std::filesystem::path>& train,
                   const std::filesystem::path& eval, double held_out, idx_t tokens,
                   const data::CorpusRules& rules) {
  parts_ = ReadTextParts(train, eval, held_out, tokens, rules, false,
                         [&](data::CorpusFile file, bool held) {
                           (held ? held_out_ : train_).push_back(std::move(file));
                         });
  own_eval_ = !eval.empty();
  joined_ = Joined(held_out_);
}

std::span<const std::uint8_t> TextData::held_out_bytes() const {
  return BytesOf(AllOf(held_out_, joined_));
}

void TextData::CopyBytes(idx_t position, std::span<std::uint8_t> out) const {
  for (const data::CorpusFile& file : train_) {
    const auto part = BytesOf(file.text());
    const auto size = static_cast<idx_t>(part.size());
    if (position >= size) {
      position -= size;
      continue;
    }
    const std::size_t count = std::min(out.size(), static_cast<std::size_t>(size - position));
    std::copy_n(part.begin() + position, count, out.begin());
    out = out.subspan(count);
    position = 0;
    if (out.empty()) return;
  }
}

void TextData::Sample(std::uint64_t key, idx_t step, idx_t first_row, idx_t rows, idx_t tokens,
                      TextRows* out) const {
  const auto count = static_cast<std::size_t>(rows * tokens);
  out->ids.resize(count);
  out->targets.resize(count);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(tokens + 1));
  std::vector<std::int32_t> ids(bytes.size());
  for (idx_t row = 0; row < rows; ++row) {
    CopyBytes(RowBegin(key, step, first_row + row, tokens), bytes);
    text::BytesTokenizer::EncodeInto(bytes, ids);
    std::copy(ids.begin(), ids.end() - 1, out->ids.begin() + row * tokens);
    std::copy(ids.begin() + 1, ids.end(), out->targets.begin() + row * tokens);
  }
}

idx_t TextData::RowBegin(std::uint64_t key, idx_t step, idx_t row, idx_t tokens) const {
  Rng rng(DeriveKey(key, static_cast<std::uint64_t>(step)), static_cast<std::uint64_t>(row));
  return rng.Below(parts_.train_bytes - tokens);
}

std::string TextData::WhereIs(idx_t begin, idx_t tokens) const {
  for (const data::CorpusFile& file : train_) {
    const auto size = static_cast<idx_t>(file.text().size());
    if (begin < size) {
      return fmt::format("bytes {} to {} of {}", begin, begin + tokens, file.source());
    }
    begin -= size;
  }
  return "none of the texts";
}

void TextData::CheckUnchanged() const {
  for (const data::CorpusFile& file : train_) file.CheckUnchanged();
  for (const data::CorpusFile& file : held_out_) file.CheckUnchanged();
}

std::string TextData::Fingerprint() const {
  std::string joined;
  const auto add = [&](const data::CorpusFile& file) {
    joined += (joined.empty() ? "" : " ") + file.Fingerprint();
  };
  for (const data::CorpusFile& file : train_) add(file);
  if (own_eval_) {
    for (const data::CorpusFile& file : held_out_) add(file);
  }
  return joined + " held out " + std::to_string(BytesIn(held_out_));
}

}  // namespace longspan
