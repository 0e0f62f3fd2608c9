#include "train/trained_parameters.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "longspan/files.h"

namespace longspan {
namespace {

// The name with a * for each number that is a part of it: one for the layers of a model.
std::string WithoutNumbers(std::string_view name) {
  std::string kind;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    kind += begin == 0 ? "" : ".";
    kind += number ? "*" : part;
    begin = end + 1;
  }
  return kind;
}

// "a.weight, b.*.weight" in the order of the table, each once.
std::string NamesOf(const ParameterTable& table) {
  std::vector<std::string> kinds;
  for (const ParameterInfo& info : table.list()) {
    const std::string kind = WithoutNumbers(info.name);
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
  }
  return fmt::format("{}", fmt::join(kinds, ", "));
}

std::vector<bool> Matching(const char* option, const std::vector<std::string>& patterns,
                           const ParameterTable& table) {
  std::vector<bool> matching(table.list().size(), false);
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (std::size_t i = 0; i < matching.size(); ++i) {
      if (!MatchesPattern(pattern, table.list()[i].name)) continue;
      matching[i] = any = true;
    }
    Check(any, ErrorCode::kUsage, "{}: '{}' matches no parameter; there are: {}", option,
          io::Escape(pattern), NamesOf(table));
  }
  return matching;
}

}  // namespace

bool MatchesPattern(std::string_view pattern, std::string_view name) {
  // The last * that was passed, and the letter up to which it has matched: it takes one more when
  // the rest does not fit.
  std::size_t p = 0, n = 0, star = std::string_view::npos, taken = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

std::vector<bool> FrozenParameters(const TrainedParameters& trained, const ParameterTable& table) {
  const std::vector<bool> only = Matching("train-only", trained.only, table);
  std::vector<bool> frozen = Matching("freeze", trained.freeze, table);
  for (std::size_t i = 0; i < frozen.size(); ++i) {
    frozen[i] = frozen[i] || (!trained.only.empty() && !only[i]);
  }
  Check(std::find(frozen.begin(), frozen.end(), false) != frozen.end(), ErrorCode::kUsage,
        "freeze: no parameter is left to train; there are: {}", NamesOf(table));
  return frozen;
}

void FreezeParameters(const TrainedParameters& trained, TrainTask& task) {
  ParameterTable& table = task.parameters();
  std::vector<bool> frozen = FrozenParameters(trained, table);
  for (std::size_t i = 0; i < frozen.size(); ++i) {
    frozen[i] = frozen[i] || !task.Trains(table.list()[i]);
  }
  table.Freeze(std::move(frozen));
}

std::function<bool(std::string_view name)> FrozenBy(const TrainedParameters& trained) {
  return [trained](std::string_view name) {
    const auto matches = [&](const std::vector<std::string>& patterns) {
      return std::any_of(patterns.begin(), patterns.end(),
                         [&](const std::string& pattern) { return MatchesPattern(pattern, name); });
    };
    return matches(trained.freeze) || (!trained.only.empty() && !matches(trained.only));
  };
}

std::vector<bool> HeadParameters(const ParameterTable& table) {
  const auto& list = table.list();
  std::vector<bool> head(list.size(), false);
  const auto words = std::find_if(list.begin(), list.end(), [](const ParameterInfo& info) {
    return info.kind == ParameterKind::kEmbedding;
  });
  const std::string encoder =
      words == list.end() ? std::string() : words->name.substr(0, words->name.find('.') + 1);
  for (std::size_t i = 0; i < list.size(); ++i) head[i] = !list[i].name.starts_with(encoder);
  Check(std::find(head.begin(), head.end(), true) != head.end(), ErrorCode::kUsage,
        "head-lr: the model has no parameters beside its encoder; there are: {}", NamesOf(table));
  return head;
}

}  // namespace longspan
