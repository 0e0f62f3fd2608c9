#include "text/tokenizer_json.h"

#include <algorithm>

#include "text/base64.h"
#include "text/json_component.h"
#include "text/post_processor_json.h"
#include "text/tokenizer_limits.h"
#include "text/tokenizer_settings.h"
#include "text/vocabulary_files.h"

namespace longspan::text {
namespace {

using nlohmann::json;
using Step = PreTokenizerStep::Kind;

// Normalizers without options.
std::optional<NormalizerStep> PlainNormalizer(std::string_view type) {
  if (type == "Lowercase") return NormalizerStep::kLowerCase;
  if (type == "StripAccents") return NormalizerStep::kStripAccents;
  if (type == "NFC") return NormalizerStep::kCompose;
  if (type == "NFD") return NormalizerStep::kDecompose;
  if (type == "NFKC") return NormalizerStep::kComposeCompatible;
  if (type == "NFKD") return NormalizerStep::kDecomposeCompatible;
  return std::nullopt;
}

std::u32string CharactersOf(std::string_view text) {
  std::u32string characters;
  std::vector<idx_t> starts;
  for (const Glyph& g : DecodeUtf8(text, starts)) characters += g.c;
  return characters;
}

// A text of a component, at most `kLongestToken` bytes long.
std::u32string TextOf(const JsonComponent& c, const json& object, std::string_view field,
                      std::size_t least) {
  const std::string text = io::GetString(object, field, io::kRequired, c.where());
  Check(text.size() >= least && text.size() <= kLongestToken, ErrorCode::kFormat,
        "{}: {} has {} bytes, must have {} to {}", c.where(), field, text.size(), least,
        kLongestToken);
  return CharactersOf(text);
}

// {"pattern": {"String": s} or {"Regex": " {2,}"}, "content": t}
NormalizerAction ReplaceAction(const JsonComponent& c, const json& object) {
  c.Only({"pattern", "content"});
  NormalizerAction action{.step = NormalizerStep::kReplace};
  action.to = TextOf(c, object, "content", 0);
  const json& pattern = c.at("pattern");
  const std::string where = c.where() + ": pattern";
  if (!pattern.is_object() || !pattern.contains("Regex")) {
    action.from = TextOf(c, pattern, "String", 1);
    return action;
  }
  const std::string regex = io::GetString(pattern, "Regex", io::kRequired, where);
  Check(regex == " {2,}", ErrorCode::kFormat,
        "{}: the expression \"{}\" is not read, only \" {{2,}}\"", where, io::Escape(regex));
  action.step = NormalizerStep::kReplaceRuns;
  action.run = ' ';
  return action;
}

// Precompiled: SentencePiece's map of characters in base64; null: none.
void AddMap(const JsonComponent& c, const json& object, Normalizer& out) {
  c.Only({"precompiled_charsmap"});
  if (object.at("precompiled_charsmap").is_null()) return;
  NormalizerAction action{.step = NormalizerStep::kMap};
  const std::string text = c.String("precompiled_charsmap");
  action.map = std::make_shared<CharactersMap>(DecodeBase64(text, c.where()), c.where());
  out.Add(std::move(action));
}

void AddNormalizer(const json& object, std::string where, Normalizer& out) {
  const JsonComponent c(object, std::move(where));
  if (c.type() == "Sequence") {
    c.Only({"normalizers"}).ForEach("normalizers", kMostSteps, [&](const json& o, std::string w) {
      AddNormalizer(o, std::move(w), out);
    });
  } else if (c.type() == "BertNormalizer") {
    c.Only({"clean_text", "handle_chinese_chars", "strip_accents", "lowercase"});
    const bool lower = c.Bool("lowercase");
    const bool strip =
        io::IsNullOrAbsent(object, "strip_accents") ? lower : c.Bool("strip_accents");
    out.Add(BertNormalizer(c.Bool("clean_text"), c.Bool("handle_chinese_chars"), strip, lower));
  } else if (c.type() == "Replace") {
    out.Add(ReplaceAction(c, object));
  } else if (c.type() == "Prepend") {
    c.Only({"prepend"});
    out.Add({.step = NormalizerStep::kPrepend, .to = TextOf(c, object, "prepend", 0)});
  } else if (c.type() == "Strip") {
    c.Only({"strip_left", "strip_right"});
    out.Add({.step = NormalizerStep::kStrip,
             .left = c.Bool("strip_left"),
             .right = c.Bool("strip_right")});
  } else if (c.type() == "Precompiled") {
    c.at("precompiled_charsmap");
    AddMap(c, object, out);
  } else if (const auto step = PlainNormalizer(c.type())) {
    c.Only({});
    out.Add(*step);
  } else {
    c.Unknown(
        "BertNormalizer, Lowercase, StripAccents, NFC, NFD, NFKC, NFKD, Precompiled, Replace, "
        "Prepend, Strip and Sequence");
  }
}

SplitBehavior BehaviorOf(const JsonComponent& c, const json& object,
                         std::optional<std::string> fallback) {
  using B = SplitBehavior;
  const std::string name =
      io::GetChoice(object, "behavior",
                    {"Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"},
                    fallback, c.where());
  return name == "Isolated"             ? B::kIsolated
         : name == "Removed"            ? B::kRemoved
         : name == "Contiguous"         ? B::kContiguous
         : name == "MergedWithPrevious" ? B::kMergedWithPrevious
                                        : B::kMergedWithNext;
}

// {"pattern": {"String": s} or {"Regex": r}, "behavior": b, "invert": false}
PreTokenizerStep SplitStep(const JsonComponent& c, const json& object) {
  c.Only({"pattern", "behavior", "invert"});
  PreTokenizerStep step{.kind = Step::kLiteral};
  step.behavior = BehaviorOf(c, object, io::kRequired);
  step.invert = c.Bool("invert", false);
  const json& pattern = c.at("pattern");
  const std::string where = c.where() + ": pattern";
  if (pattern.is_object() && pattern.contains("Regex")) {
    const std::string regex = io::GetString(pattern, "Regex", io::kRequired, where);
    const auto expression = WordExpressionOf(regex);
    Check(expression.has_value(), ErrorCode::kFormat,
          "{}: the expression \"{}\" is not read, only {}", where, io::Escape(regex),
          kWordExpressions);
    step.kind = Step::kExpression;
    step.expression = *expression;
    return step;
  }
  const std::string literal = io::GetString(pattern, "String", io::kRequired, where);
  Check(!literal.empty() && literal.size() <= kLongestToken, ErrorCode::kFormat,
        "{}: a String of {} bytes, must have 1 to {}", where, literal.size(), kLongestToken);
  step.literal = CharactersOf(literal);
  return step;
}

// The pre-tokenizer and the decoder Metaspace. Files of old versions have add_prefix_space in the
// place of prepend_scheme, and str_rep, which says nothing.
PreTokenizerStep MetaspaceOf(const JsonComponent& c, const json& object) {
  using Prepend = PreTokenizerStep::Prepend;
  c.Only({"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
  PreTokenizerStep step{.kind = Step::kMetaspace};
  const std::u32string mark = CharactersOf(c.String("replacement"));
  Check(mark.size() == 1, ErrorCode::kFormat, "{}: replacement must be one character", c.where());
  step.mark = mark[0];
  const std::string scheme =
      io::GetChoice(object, "prepend_scheme", {"always", "first", "never"}, "always", c.where());
  step.prepend = scheme == "never"   ? Prepend::kNever
                 : scheme == "first" ? Prepend::kFirst
                                     : Prepend::kAlways;
  Check(c.Bool("add_prefix_space", true) || scheme == "never", ErrorCode::kFormat,
        "{}: add_prefix_space is false, prepend_scheme is {}", c.where(), scheme);
  step.split = c.Bool("split", true);
  return step;
}

// True when the component writes bytes as characters: nothing may follow it.
bool AddPreTokenizer(const json& object, std::string where, PreTokenizer& out) {
  const JsonComponent c(object, std::move(where));
  if (c.type() == "Sequence") {
    bool bytes = false;
    c.Only({"pretokenizers"})
        .ForEach("pretokenizers", kMostSteps, [&](const json& o, std::string w) {
          Check(!bytes, ErrorCode::kFormat, "{}: something follows ByteLevel, which must be last",
                w);
          bytes = AddPreTokenizer(o, std::move(w), out);
        });
    return bytes;
  }
  if (c.type() == "ByteLevel") {
    c.Only({"add_prefix_space", "trim_offsets", "use_regex"});
    c.Bool("trim_offsets", true);  // its own has no effect, the post-processor's has
    if (c.Bool("add_prefix_space")) out.Add(Step::kPrefixSpace);
    if (c.Bool("use_regex", true)) out.Add(Step::kExpression);  // GPT-2's
    return true;
  }
  if (c.type() == "BertPreTokenizer") {
    c.Only({});
    out.Add(Step::kSpaces);
    out.Add(Step::kEachPunctuation);
  } else if (c.type() == "Whitespace") {
    c.Only({});
    out.Add(Step::kWords);
  } else if (c.type() == "WhitespaceSplit") {
    c.Only({});
    out.Add(Step::kSpaces);
  } else if (c.type() == "Punctuation") {
    c.Only({"behavior"});
    PreTokenizerStep step{.kind = Step::kEachPunctuation};
    step.behavior = BehaviorOf(c, object, "Isolated");
    out.Add(std::move(step));
  } else if (c.type() == "Split") {
    out.Add(SplitStep(c, object));
  } else if (c.type() == "Metaspace") {
    out.Add(MetaspaceOf(c, object));
  } else {
    c.Unknown(
        "ByteLevel, BertPreTokenizer, Whitespace, WhitespaceSplit, Punctuation, Split, Metaspace "
        "and Sequence");
  }
  return false;
}

void AddDecoder(const json& object, std::string where, TokenDecoder& out) {
  const JsonComponent c(object, std::move(where));
  if (c.type() == "Sequence") {
    c.Only({"decoders"}).ForEach("decoders", kMostSteps, [&](const json& o, std::string w) {
      AddDecoder(o, std::move(w), out);
    });
  } else if (c.type() == "ByteLevel") {
    c.Only({"add_prefix_space", "trim_offsets", "use_regex"});
    out.Add({.kind = DecoderStep::Kind::kByteLevel});
  } else if (c.type() == "WordPiece") {
    c.Only({"prefix", "cleanup"});
    out.Add({DecoderStep::Kind::kWordPiece, c.String("prefix"), c.Bool("cleanup")});
  } else if (c.type() == "Fuse") {
    c.Only({});
    out.Add({.kind = DecoderStep::Kind::kFuse});
  } else if (c.type() == "Metaspace") {
    const PreTokenizerStep step = MetaspaceOf(c, object);
    out.Add({.kind = DecoderStep::Kind::kMetaspace,
             .prefix = ToUtf8(step.mark),
             .cleanup = step.prepend != PreTokenizerStep::Prepend::kNever});
  } else if (c.type() == "ByteFallback") {
    c.Only({});
    out.Add({.kind = DecoderStep::Kind::kByteFallback});
  } else if (c.type() == "Replace") {
    const NormalizerAction action = ReplaceAction(c, object);
    Check(action.step == NormalizerStep::kReplace, ErrorCode::kFormat,
          "{}: Replace with a Regex is not read in a decoder", c.where());
    out.Add({.kind = DecoderStep::Kind::kReplace,
             .prefix = ToUtf8(action.from.text()),
             .content = ToUtf8(action.to)});
  } else if (c.type() == "Strip") {
    c.Only({"content", "start", "stop"});
    const std::u32string content = CharactersOf(c.String("content"));
    Check(content.size() == 1, ErrorCode::kFormat, "{}: content must be one character", c.where());
    const auto most = static_cast<idx_t>(kLongestToken);
    out.Add({.kind = DecoderStep::Kind::kStrip,
             .prefix = ToUtf8(content),
             .start = io::GetInt(object, "start", 0, most, io::kRequired, c.where()),
             .stop = io::GetInt(object, "stop", 0, most, io::kRequired, c.where())});
  } else {
    c.Unknown("ByteLevel, WordPiece, Metaspace, ByteFallback, Replace, Strip, Fuse and Sequence");
  }
}

// "a b" or ["a", "b"].
std::pair<std::string, std::string> MergeOf(const json& merge, std::string_view where) {
  if (merge.is_string()) return SplitMerge(merge.get_ref<const std::string&>(), where);
  Check(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
        ErrorCode::kFormat, "{}: must be \"left right\" or [\"left\", \"right\"]", where);
  return {merge[0].get<std::string>(), merge[1].get<std::string>()};
}

// The token for what the vocabulary does not have. One that only added_tokens has is known by its
// id and is no entry of the model: a text that asks for it is refused, as the package does it.
std::optional<std::int32_t> UnknownOf(const std::string& name, const JsonComponent& c,
                                      TokenizerParts& parts) {
  const auto id = parts.vocabulary.IdOf(name);
  parts.special.unk = id;
  for (const AddedToken& token : parts.added) {
    if (token.content == name) parts.special.unk = token.id;
  }
  Check(parts.special.unk.has_value(), ErrorCode::kFormat,
        "{}: unk_token \"{}\" is neither in the vocabulary nor in added_tokens", c.where(),
        io::Escape(name));
  return id;
}

void ReadBpe(const json& model, const JsonComponent& c, bool bytes, TokenizerParts& parts) {
  c.Only({"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
          "byte_fallback", "ignore_merges", "vocab", "merges"});
  const auto refuse = [&](bool bad, std::string_view field) {
    Check(!bad, ErrorCode::kFormat, "{}: BPE with {} is not read", c.where(), field);
  };
  refuse(io::GetOptionalFloat(model, "dropout", 0.0, 1.0, c.where()).value_or(0.0) > 0.0,
         "dropout");
  for (const std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    refuse(!io::GetOptionalString(model, affix, c.where()).value_or("").empty(), affix);
  }
  parts.vocabulary = VocabularyOf(c.at("vocab"), c.where() + ": vocab");
  parts.kind = bytes ? "byte-level BPE" : "BPE";
  BpeModel::Options options;
  options.characters = !bytes;
  options.byte_fallback = c.Bool("byte_fallback", false);
  refuse(bytes && options.byte_fallback, "ByteLevel and byte_fallback");
  options.fuse_unk = c.Bool("fuse_unk", false);
  options.ignore_merges = c.Bool("ignore_merges", false);
  if (const auto unk = io::GetOptionalString(model, "unk_token", c.where())) {
    options.unk = UnknownOf(*unk, c, parts);
    options.unk_name = *unk;
  }
  std::vector<std::pair<std::string, std::string>> merges;
  c.ForEach("merges", kMostTokenizerValues, [&](const json& merge, const std::string& where) {
    merges.push_back(MergeOf(merge, where));
  });
  parts.model.emplace(BpeModel(parts.vocabulary, merges, options, c.where() + ": merges"));
}

void ReadWordPiece(const json& model, const JsonComponent& c, TokenizerParts& parts) {
  c.Only({"unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"});
  parts.vocabulary = VocabularyOf(c.at("vocab"), c.where() + ": vocab");
  WordPieceModel::Options options;
  options.unk_name = c.String("unk_token");
  options.unk = UnknownOf(options.unk_name, c, parts);
  options.prefix = c.String("continuing_subword_prefix");
  options.longest_word =
      io::GetInt(model, "max_input_chars_per_word", 0, kLongestWord, io::kRequired, c.where());
  parts.model.emplace(WordPieceModel(parts.vocabulary, std::move(options)));
  parts.kind = "WordPiece";
}

// "vocab": [["token", score], ...], ids from 0.
void ReadUnigram(const json& model, const JsonComponent& c, TokenizerParts& parts) {
  c.Only({"unk_id", "vocab", "byte_fallback"});
  UnigramModel::Options options;
  options.byte_fallback = c.Bool("byte_fallback", false);
  const json& vocab = c.at("vocab");
  const auto most = static_cast<std::size_t>(kMostVocabularyEntries);
  Check(vocab.is_array() && !vocab.empty() && vocab.size() <= most, ErrorCode::kFormat,
        "{}: vocab must be a list of 1 to {} tokens", c.where(), most);
  const auto count = static_cast<idx_t>(vocab.size());
  std::vector<double> scores;
  scores.reserve(vocab.size());
  for (idx_t id = 0; id < count; ++id) {
    const json& pair = vocab[static_cast<std::size_t>(id)];
    const bool fits = pair.is_array() && pair.size() == 2 && pair[0].is_string() &&
                      pair[1].is_number() &&
                      pair[0].get_ref<const std::string&>().size() <= kLongestToken;
    Check(fits, ErrorCode::kFormat,
          "{}: vocab[{}] must be [token, score], the token of at most {} bytes", c.where(), id,
          kLongestToken);
    parts.vocabulary.Add(pair[0].get_ref<const std::string&>(), id, count, c.where() + ": vocab");
    scores.push_back(pair[1].get<double>());
  }
  options.unk = static_cast<std::int32_t>(
      io::GetInt(model, "unk_id", 0, count - 1, io::kRequired, c.where()));
  parts.special.unk = options.unk;
  parts.model.emplace(UnigramModel(parts.vocabulary, std::move(scores), options, c.where()));
  parts.kind = "Unigram";
}

// Files of old versions do not say the type: merges tell BPE.
// `bytes`: behind ByteLevel.
void ReadModel(const json& document, const std::string& source, bool bytes, TokenizerParts& parts) {
  const std::string where = source + ": model";
  json model = document.value("model", json());
  Check(model.is_object(), ErrorCode::kFormat, "{} is missing or no object", where);
  if (!model.contains("type")) model["type"] = model.contains("merges") ? "BPE" : "WordPiece";
  const JsonComponent c(model, where);
  Check(!bytes || c.type() == "BPE", ErrorCode::kFormat, "{}: {} behind ByteLevel is not read",
        source, io::Escape(c.type()));
  if (c.type() == "BPE") return ReadBpe(model, c, bytes, parts);
  if (c.type() == "WordPiece") return ReadWordPiece(model, c, parts);
  if (c.type() == "Unigram") return ReadUnigram(model, c, parts);
  c.Unknown("BPE, WordPiece and Unigram");
}

void ReadAddedTokens(const json& document, const std::string& source, TokenizerParts& parts) {
  const auto list = document.find("added_tokens");
  if (list == document.end() || list->is_null()) return;
  Check(list->is_array() && list->size() <= kMostAddedTokens, ErrorCode::kFormat,
        "{}: added_tokens must be a list of at most {} elements", source, kMostAddedTokens);
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string where = fmt::format("{}: added_tokens[{}]", source, i);
    const json& o = (*list)[i];
    AddedToken token = AddedTokenOf(o, true, where);
    token.id = static_cast<std::int32_t>(
        io::GetInt(o, "id", 0, kMostVocabularyEntries, io::kRequired, where));
    parts.added.push_back(std::move(token));
  }
}

}  // namespace

TokenizerParts ReadTokenizerJson(const json& document, std::string_view file) {
  const std::string source(file);
  io::CheckObject(document, source);
  for (const auto& [name, value] : document.items()) {
    constexpr std::string_view kKnown[] = {"version",        "truncation", "padding",
                                           "added_tokens",   "normalizer", "pre_tokenizer",
                                           "post_processor", "decoder",    "model"};
    Check(std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown),
          ErrorCode::kFormat, "{}: a section \"{}\" is not known", source, io::Escape(name));
  }
  TokenizerParts parts;
  const auto section = [&](const char* name, const auto& use) {
    if (!io::IsNullOrAbsent(document, name)) use(document[name], source + ": " + name);
  };
  bool bytes = false;
  section("pre_tokenizer", [&](const json& o, std::string where) {
    bytes = AddPreTokenizer(o, std::move(where), parts.pre_tokenizer);
  });
  ReadAddedTokens(document, source, parts);
  ReadModel(document, source, bytes, parts);
  section("normalizer", [&](const json& o, std::string where) {
    AddNormalizer(o, std::move(where), parts.normalizer);
  });
  section("post_processor",
          [&](const json& o, std::string where) { ReadPostProcessor(o, std::move(where), parts); });
  section("decoder", [&](const json& o, std::string where) {
    AddDecoder(o, std::move(where), parts.decoder);
  });
  // Sequences in sequences multiply.
  for (const std::size_t steps :
       {parts.normalizer.size(), parts.pre_tokenizer.size(), parts.decoder.size()}) {
    Check(steps <= kMostSteps, ErrorCode::kFormat, "{}: {} steps of one kind, at most {} are done",
          source, steps, kMostSteps);
  }
  return parts;
}

}  // namespace longspan::text
