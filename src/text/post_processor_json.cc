#include "text/post_processor_json.h"

#include <algorithm>

#include "text/json_component.h"
#include "text/tokenizer_limits.h"

namespace longspan::text {
namespace {

using nlohmann::json;
using Place = TokenizerParts::Place;

std::int32_t IdIn(const json& value, const std::string& where) {
  const bool id = value.is_number_integer() && value >= 0 && value <= kMostVocabularyEntries;
  Check(id, ErrorCode::kFormat, "{}: an id must be an integer in [0, {}]", where,
        kMostVocabularyEntries);
  return value.get<std::int32_t>();
}

// ["[SEP]", 102]
std::int32_t TokenAndId(const JsonComponent& c, std::string_view field) {
  const json& pair = c.at(field);
  Check(pair.is_array() && pair.size() == 2 && pair[0].is_string(), ErrorCode::kFormat,
        "{}: {} must be [token, id]", c.where(), field);
  return IdIn(pair[1], fmt::format("{}: {}", c.where(), field));
}

// The ids that a special token of a template stands for.
std::vector<std::int32_t> SpecialTokenIds(const JsonComponent& c, const std::string& name) {
  const json& tokens = c.at("special_tokens");
  const std::string where = fmt::format("{}: special_tokens: {}", c.where(), io::Escape(name));
  Check(tokens.is_object() && tokens.contains(name) && tokens[name].is_object() &&
            tokens[name].contains("ids") && tokens[name]["ids"].is_array() &&
            tokens[name]["ids"].size() <= kMostTemplatePlaces,
        ErrorCode::kFormat, "{} is missing or has no list of ids", where);
  std::vector<std::int32_t> ids;
  for (const json& id : tokens[name]["ids"]) ids.push_back(IdIn(id, where));
  return ids;
}

// [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, ...]
std::vector<Place> TemplateOf(const JsonComponent& c, std::string_view field, int texts) {
  std::vector<Place> places;
  c.ForEach(field, kMostTemplatePlaces, [&](const json& o, const std::string& where) {
    const bool special = o.is_object() && o.contains("SpecialToken");
    Check(special || (o.is_object() && o.contains("Sequence")), ErrorCode::kFormat,
          "{}: must be a SpecialToken or a Sequence", where);
    const json& piece = o[special ? "SpecialToken" : "Sequence"];
    const auto type =
        static_cast<std::int32_t>(io::GetInt(piece, "type_id", 0, 255, io::kRequired, where));
    if (special) {
      const std::string name = io::GetString(piece, "id", io::kRequired, where);
      for (const std::int32_t id : SpecialTokenIds(c, name)) places.push_back({-1, id, type});
    } else {
      const std::string text = io::GetChoice(piece, "id", {"A", "B"}, io::kRequired, where);
      places.push_back({text == "A" ? 0 : 1, 0, type});
    }
  });
  for (int text = 0; text < 2; ++text) {
    const auto count = std::count_if(places.begin(), places.end(),
                                     [&](const Place& p) { return p.sequence == text; });
    Check(count == (text < texts ? 1 : 0), ErrorCode::kFormat,
          "{}: {} has the {} text {} times, must have it {}", c.where(), field,
          text == 0 ? "first" : "second", count, text < texts ? "once" : "not at all");
  }
  return places;
}

void SetClsSep(const JsonComponent& c, TokenizerParts& parts) {
  parts.special.cls = TokenAndId(c, "cls");
  parts.special.sep = TokenAndId(c, "sep");
}

// What processors of one kind say; a kind may come once.
struct Seen {
  bool offsets = false, places = false;
};

void Read(const json& object, std::string where, TokenizerParts& parts, Seen& seen) {
  const JsonComponent c(object, std::move(where));
  const auto once = [&](bool& kind) {
    Check(!kind, ErrorCode::kFormat, "{}: {} does again what one before it does", c.where(),
          io::Escape(c.type()));
    kind = true;
  };
  if (c.type() == "Sequence") {
    c.Only({"processors"}).ForEach("processors", kMostSteps, [&](const json& o, std::string w) {
      Read(o, std::move(w), parts, seen);
    });
  } else if (c.type() == "ByteLevel") {
    c.Only({"add_prefix_space", "trim_offsets", "use_regex"});
    Check(!seen.places, ErrorCode::kFormat, "{}: ByteLevel behind the special tokens is not read",
          c.where());
    once(seen.offsets);
    parts.trim_offsets = c.Bool("trim_offsets");
    parts.prefix_space = c.Bool("add_prefix_space");
  } else if (c.type() == "RobertaProcessing") {
    c.Only({"sep", "cls", "trim_offsets", "add_prefix_space"});
    once(seen.offsets);
    once(seen.places);
    parts.trim_offsets = c.Bool("trim_offsets");
    parts.prefix_space = c.Bool("add_prefix_space");
    SetClsSep(c, parts);
    UseRobertaTemplate(*parts.special.cls, *parts.special.sep, parts);
  } else if (c.type() == "BertProcessing") {
    c.Only({"sep", "cls"});
    once(seen.places);
    SetClsSep(c, parts);
    UseBertTemplate(*parts.special.cls, *parts.special.sep, parts);
  } else if (c.type() == "TemplateProcessing") {
    c.Only({"single", "pair", "special_tokens"});
    once(seen.places);
    parts.single = TemplateOf(c, "single", 1);
    parts.pair = TemplateOf(c, "pair", 2);
  } else {
    c.Unknown("TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and Sequence");
  }
}

}  // namespace

void ReadPostProcessor(const json& object, std::string where, TokenizerParts& parts) {
  Seen seen;
  Read(object, std::move(where), parts, seen);
}

void UseRobertaTemplate(std::int32_t cls, std::int32_t sep, TokenizerParts& parts) {
  parts.single = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}};
  parts.pair = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}, {-1, sep, 0}, {1, 0, 0}, {-1, sep, 0}};
}

void UseBertTemplate(std::int32_t cls, std::int32_t sep, TokenizerParts& parts) {
  parts.single = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}};
  parts.pair = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}, {1, 0, 1}, {-1, sep, 1}};
}

}  // namespace longspan::text
