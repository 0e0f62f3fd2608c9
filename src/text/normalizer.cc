#include "text/normalizer.h"

#include <algorithm>

namespace longspan::text {
namespace {

// The characters that BERT's cleaning drops. U+FFFD, a symbol, goes with them.
bool IsCleanedAway(char32_t c) { return c == 0 || c == 0xFFFD || (Kind(c) & kControl) != 0; }

void Clean(Glyphs& glyphs) {
  KeepOnly([](char32_t c) { return !IsCleanedAway(c); }, glyphs);
  for (Glyph& g : glyphs) {
    if ((Kind(g.c) & kSpace) != 0) g.c = ' ';
  }
}

void SpaceCjk(Glyphs& glyphs) {
  Glyphs result;
  result.reserve(glyphs.size());
  for (const Glyph& g : glyphs) {
    const bool cjk = IsCjk(g.c);
    if (cjk) result.push_back({' ', g.begin, g.end});
    result.push_back(g);
    if (cjk) result.push_back({' ', g.begin, g.end});
  }
  glyphs = std::move(result);
}

// Puts `to` in the place of glyphs [begin, end): each of its characters stands for the last one of
// them.
void PutInstead(const Glyphs& glyphs, std::size_t end, const std::u32string& to, Glyphs& result) {
  for (const char32_t c : to) result.push_back({c, glyphs[end - 1].begin, glyphs[end - 1].end});
}

// Of one character by one, what most files do. Each occurrence stays where it is.
void ReplaceCharacter(char32_t from, char32_t to, Glyphs& glyphs) {
  for (Glyph& g : glyphs) {
    if (g.c == from) g.c = to;
  }
}

// Stops once there are more than `most`, as all steps that may make much of little.
void Replace(const LiteralSearch& from, const std::u32string& to, std::size_t most,
             Glyphs& glyphs) {
  if (from.size() == 1 && to.size() == 1) {
    return ReplaceCharacter(from.text()[0], to[0], glyphs);
  }
  Glyphs result;
  result.reserve(glyphs.size());
  for (std::size_t at = 0; at < glyphs.size() && result.size() <= most;) {
    const std::size_t found = from.Find(glyphs, at, glyphs.size());
    result.insert(result.end(), glyphs.begin() + static_cast<std::ptrdiff_t>(at),
                  glyphs.begin() + static_cast<std::ptrdiff_t>(found));
    if (found == glyphs.size()) break;
    at = found + from.size();
    PutInstead(glyphs, at, to, result);
  }
  glyphs = std::move(result);
}

void ReplaceRuns(char32_t c, const std::u32string& to, std::size_t most, Glyphs& glyphs) {
  Glyphs result;
  result.reserve(glyphs.size());
  for (std::size_t at = 0; at < glyphs.size() && result.size() <= most;) {
    std::size_t end = at;
    while (end < glyphs.size() && glyphs[end].c == c) ++end;
    if (end - at >= 2) {
      PutInstead(glyphs, end, to, result);
      at = end;
    } else {
      result.push_back(glyphs[at++]);
    }
  }
  glyphs = std::move(result);
}

void Strip(bool left, bool right, Glyphs& glyphs) {
  const auto is_text = [](const Glyph& g) { return (Kind(g.c) & kSpace) == 0; };
  if (right) {
    glyphs.erase(std::find_if(glyphs.rbegin(), glyphs.rend(), is_text).base(), glyphs.end());
  }
  if (left) glyphs.erase(glyphs.begin(), std::find_if(glyphs.begin(), glyphs.end(), is_text));
}

// Puts a text before what is not empty, at the place of its first character.
void Prepend(const std::u32string& text, Glyphs& glyphs) {
  if (glyphs.empty()) return;
  const Glyph first = glyphs.front();
  Glyphs front;
  for (const char32_t c : text) front.push_back({c, first.begin, first.end});
  glyphs.insert(glyphs.begin(), front.begin(), front.end());
}

std::string_view NameOf(NormalizerStep step) {
  switch (step) {
    case NormalizerStep::kDecompose:
      return "NFD";
    case NormalizerStep::kDecomposeCompatible:
      return "NFKD";
    case NormalizerStep::kCompose:
      return "NFC";
    case NormalizerStep::kComposeCompatible:
      return "NFKC";
    case NormalizerStep::kLowerCase:
      return "Lowercase";
    case NormalizerStep::kStripAccents:
    case NormalizerStep::kStripBertAccents:
      return "StripAccents";
    case NormalizerStep::kClean:
    case NormalizerStep::kSpaceCjk:
      return "BertNormalizer";
    case NormalizerStep::kReplace:
    case NormalizerStep::kReplaceRuns:
      return "Replace";
    case NormalizerStep::kPrepend:
      return "Prepend";
    case NormalizerStep::kStrip:
      return "Strip";
    case NormalizerStep::kMap:
      return "Precompiled";
  }
  return "";
}

}  // namespace

void Normalizer::Do(const NormalizerAction& action, std::size_t most, bool prepend,
                    Glyphs& glyphs) {
  switch (action.step) {
    case NormalizerStep::kDecompose:
      glyphs = Decompose(std::move(glyphs), false, most);
      break;
    case NormalizerStep::kDecomposeCompatible:
      glyphs = Decompose(std::move(glyphs), true, most);
      break;
    case NormalizerStep::kCompose:
      glyphs = Compose(std::move(glyphs), false, most);
      break;
    case NormalizerStep::kComposeCompatible:
      glyphs = Compose(std::move(glyphs), true, most);
      break;
    case NormalizerStep::kLowerCase:
      glyphs = LowerCase(std::move(glyphs));
      break;
    case NormalizerStep::kStripAccents:
      KeepOnly([](char32_t c) { return (Kind(c) & kAnyMark) == 0; }, glyphs);
      break;
    case NormalizerStep::kStripBertAccents:
      KeepOnly([](char32_t c) { return (Kind(c) & kMark) == 0; }, glyphs);
      break;
    case NormalizerStep::kClean:
      Clean(glyphs);
      break;
    case NormalizerStep::kSpaceCjk:
      SpaceCjk(glyphs);
      break;
    case NormalizerStep::kReplace:
      Replace(action.from, action.to, most, glyphs);
      break;
    case NormalizerStep::kReplaceRuns:
      ReplaceRuns(action.run, action.to, most, glyphs);
      break;
    case NormalizerStep::kPrepend:
      if (prepend) Prepend(action.to, glyphs);
      break;
    case NormalizerStep::kStrip:
      Strip(action.left, action.right, glyphs);
      break;
    case NormalizerStep::kMap:
      action.map->Apply(glyphs, most);
      break;
  }
}

void Normalizer::Apply(Glyphs& glyphs, const Growth& growth, bool prepend) const {
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    Do(steps_[i], growth.room(), prepend, glyphs);
    growth.Hold(glyphs.size(), "normalizer", i, NameOf(steps_[i].step));
  }
}

Normalizer BertNormalizer(bool clean_text, bool space_cjk, bool strip_accents, bool lower_case) {
  Normalizer normalizer;
  if (clean_text) normalizer.Add(NormalizerStep::kClean);
  if (space_cjk) normalizer.Add(NormalizerStep::kSpaceCjk);
  if (strip_accents) {
    normalizer.Add(NormalizerStep::kDecompose);
    normalizer.Add(NormalizerStep::kStripBertAccents);
  }
  if (lower_case) normalizer.Add(NormalizerStep::kLowerCase);
  return normalizer;
}

}  // namespace longspan::text
