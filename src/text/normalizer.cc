#include "text/normalizer.h"

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

}  // namespace

void Normalizer::Apply(Glyphs& glyphs) const {
  for (const NormalizerStep step : steps_) {
    switch (step) {
      case NormalizerStep::kDecompose:
        glyphs = Decompose(glyphs);
        break;
      case NormalizerStep::kDecomposeCompatible:
        glyphs = Decompose(glyphs, true);
        break;
      case NormalizerStep::kCompose:
        glyphs = Compose(glyphs);
        break;
      case NormalizerStep::kComposeCompatible:
        glyphs = Compose(glyphs, true);
        break;
      case NormalizerStep::kLowerCase:
        glyphs = LowerCase(glyphs);
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
    }
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
