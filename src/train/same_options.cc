#include "train/same_options.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "data/documents.h"
#include "io/ascii.h"
#include "longspan/counted.h"
#include "longspan/files.h"

namespace longspan {
namespace {

using nlohmann::json;

// Names of options that are not the saved ones with dashes for underscores.
constexpr std::pair<std::string_view, std::string_view> kTypedNames[] = {
    {"head_learning_rate", "head-lr"}, {"pair_column", "text-pair-column"},
    {"longest", "max-answer"},         {"word_field", "token-column"},
    {"tag_field", "tag-column"},       {"cosine_distance", "distance"},
};

// Those that no option of the program says.
constexpr std::pair<std::string_view, std::string_view> kInWords[] = {
    {"labels", "the labels"},
    {"adam_eps", "AdamW's epsilon"},
};

// Those that are not saved where they have these values: runs from before there was a choice.
constexpr std::pair<std::string_view, std::string_view> kIfNotSaved[] = {
    {"dtype", "f32"},        {"gradient_streams", "f32"}, {"optimizer", "adamw"},
    {"metric", "loss"},      {"documents", "joined"},     {"patience", "0"},
    {"window_loss", "each"},
};

using NameTable = std::span<const std::pair<std::string_view, std::string_view>>;

// What a table says of a name; empty: nothing.
std::string_view Listed(NameTable table, std::string_view name) {
  for (const auto& [key, value] : table) {
    if (key == name) return value;
  }
  return {};
}

std::string TypedName(std::string name) {
  if (const std::string_view words = Listed(kInWords, name); !words.empty()) {
    return std::string(words);
  }
  if (const std::string_view typed = Listed(kTypedNames, name); !typed.empty()) name = typed;
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

// Numbers and words as they are typed, a list with commas.
std::string TypedValue(const json& value) {
  if (value.is_string()) {
    const std::string text = io::Escape(value.get<std::string>(), 200);
    return text.empty() || text.find(' ') != text.npos ? "'" + text + "'" : text;
  }
  if (value.is_number_float()) return fmt::format("{}", value.get<double>());
  if (!value.is_array()) {
    return value.dump(-1, ' ', true, json::error_handler_t::replace);
  }
  std::string list;
  for (const json& item : value) list += (list.empty() ? "" : ",") + TypedValue(item);
  return io::Escape(list, 400);
}

std::string UpdatesText(const json& steps) {
  const bool whole = steps.is_number_integer();
  return whole ? Counted(steps.get<idx_t>(), "update") : TypedValue(steps) + " updates";
}

// "bad=0.5,good=4".
std::string ClassWeightsText(const json& options) {
  const json& weights = options["class_weights"];
  const json labels = options.value("labels", json::array());
  if (!weights.is_array() || !labels.is_array() || labels.size() != weights.size()) {
    return TypedValue(weights);
  }
  json pairs = json::array();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const bool number = weights[i].is_number();  // saved as a double, computed as a float
    pairs.push_back(TypedValue(labels[i]) + "=" +
                    (number ? fmt::format("{}", weights[i].get<float>()) : TypedValue(weights[i])));
  }
  return TypedValue(pairs);
}

std::string ValueOf(const json& options, const std::string& name) {
  const json& value = options[name];
  if (name == "class_weights") return ClassWeightsText(options);
  if (name == "cosine_distance") return value == true ? "cosine" : "euclidean";
  if (name == "documents" && value.is_number_integer()) {  // a masked language model's
    for (const Documents documents :
         {Documents::kJoined, Documents::kFile, Documents::kBlankLine, Documents::kLine}) {
      if (value == static_cast<int>(documents)) return data::DocumentsName(documents);
    }
  }
  if (name == "dtype" || name == "gradient_streams") return io::LowerAscii(TypedValue(value));
  return TypedValue(value);
}

// "mlm"; a run that does not say it is one of a language model.
std::string TaskOf(const json& options) { return TypedValue(options.value("task", json("lm"))); }

// The options of an optimizer beside the others, so that the one that differs is named.
json Flat(json options) {
  const auto optimizer = options.find("optimizer");
  if (optimizer == options.end() || !optimizer->is_object()) return options;
  const json own = *optimizer;
  options.erase(optimizer);
  for (const auto& [name, value] : own.items()) {
    options[name == "name" ? "optimizer" : name] = value;
  }
  return options;
}

bool IsSame(const json& saved, const json& now, const std::string& name) {
  return saved.contains(name) == now.contains(name) &&
         (!now.contains(name) || saved[name] == now[name]);
}

}  // namespace

std::string OptionAsTyped(const json& options, const std::string& name) {
  if (name == "steps" && options.contains("epochs")) {
    return fmt::format("with --epochs {} ({})", TypedValue(options["epochs"]),
                       UpdatesText(options["steps"]));
  }
  const std::string typed = TypedName(name);
  const json value = options.value(name, json());
  if (value.is_null() || (value.is_array() && value.empty())) {
    const std::string_view other = Listed(kIfNotSaved, name);
    return other.empty() ? "without " + typed : fmt::format("with {} {}", typed, other);
  }
  if (value.is_boolean() && name != "cosine_distance") {
    return (value == true ? "with " : "without ") + typed;
  }
  return fmt::format("with {} {}", typed, ValueOf(options, name));
}

void CheckSameOptions(const json& saved_options, const json& now_options,
                      const std::set<std::string>& may_differ) {
  const json saved = Flat(saved_options), now = Flat(now_options);
  const std::string task = TaskOf(saved), task_now = TaskOf(now);
  Check(task == task_now, ErrorCode::kUsage,
        "resume: the run was started by train {}, this is train {}; use that command, or another "
        "-o for a new run",
        task, task_now);
  std::set<std::string> all;
  for (const json* options : {&saved, &now}) {
    for (const auto& [name, value] : options->items()) all.insert(name);
  }
  all.erase("epochs");
  std::vector<std::string> names = {"optimizer"};  // others have other options
  names.insert(names.end(), all.begin(), all.end());
  for (const std::string& name : names) {
    if (IsSame(saved, now, name) || may_differ.contains(name)) continue;
    const bool by_files = name == "labels";
    Fail(ErrorCode::kUsage,
         "resume: the run was started {}, this command goes on {}; give the same{}, or another -o "
         "for a new run{}",
         OptionAsTyped(saved, name), OptionAsTyped(now, name), by_files ? " files" : "",
         name == "steps" ? "; --extend goes on to more" : "");
  }
}

}  // namespace longspan
