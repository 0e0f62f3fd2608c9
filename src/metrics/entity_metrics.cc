#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/errors.h"
#include "longspan/files.h"
#include "longspan/metrics.h"
#include "metrics/shares.h"

namespace longspan::metrics {
namespace {

struct Tag {
  char place = 'O';  // one of B, I, E, S and O
  std::string_view type = "_";
};

Tag ReadTag(const std::string& tag) {
  Check(IsEntityTag(tag), ErrorCode::kUsage,
        "metrics: tag '{}' is none of O, B, I, E, S and B-TYPE, I-TYPE, E-TYPE, S-TYPE",
        io::Escape(tag));
  const std::string_view type = tag.size() > 2 ? std::string_view(tag).substr(2) : "_";
  return {tag.front(), type};
}

// Whether an entity that is open before `tag` ends there.
bool Ends(const Tag& before, const Tag& tag) {
  if (before.place == 'O') return false;
  if (before.place == 'E' || before.place == 'S' || before.type != tag.type) return true;
  return tag.place == 'B' || tag.place == 'S' || tag.place == 'O';
}

bool Begins(const Tag& before, const Tag& tag) {
  if (tag.place == 'O') return false;
  if (tag.place == 'B' || tag.place == 'S' || before.type != tag.type) return true;
  return before.place == 'E' || before.place == 'S' || before.place == 'O';
}

using Place = std::tuple<std::size_t, idx_t, idx_t>;  // sentence, begin, end

void CountSentences(std::span<const std::vector<std::string>> sentences,
                    std::map<std::string, std::set<Place>>& found) {
  for (std::size_t s = 0; s < sentences.size(); ++s) {
    for (Entity& entity : FindEntities(sentences[s])) {
      found[std::move(entity.type)].insert({s, entity.begin, entity.end});
    }
  }
}

}  // namespace

bool IsEntityTag(std::string_view tag) {
  if (tag == "O") return true;
  const bool place = !tag.empty() && std::string_view("BIES").find(tag.front()) != tag.npos;
  return place && (tag.size() == 1 || tag[1] == '-');
}

std::vector<Entity> FindEntities(std::span<const std::string> tags) {
  std::vector<Entity> entities;
  Tag before;
  idx_t begin = 0;
  for (std::size_t i = 0; i <= tags.size(); ++i) {
    const Tag tag = i < tags.size() ? ReadTag(tags[i]) : Tag();
    const auto at = static_cast<idx_t>(i);
    if (Ends(before, tag)) entities.push_back({std::string(before.type), begin, at});
    if (Begins(before, tag)) begin = at;
    before = tag;
  }
  return entities;
}

EntityScores ScoreEntities(std::span<const std::vector<std::string>> truth,
                           std::span<const std::vector<std::string>> predicted) {
  Check(truth.size() == predicted.size(), ErrorCode::kUsage,
        "metrics: {} sentences of true tags for {} of predicted ones", truth.size(),
        predicted.size());
  for (std::size_t s = 0; s < truth.size(); ++s) {
    Check(truth[s].size() == predicted[s].size(), ErrorCode::kUsage,
          "metrics: sentence {} has {} true tags and {} predicted ones", s, truth[s].size(),
          predicted[s].size());
  }
  std::map<std::string, std::set<Place>> in_truth, in_predicted;
  CountSentences(truth, in_truth);
  CountSentences(predicted, in_predicted);
  for (const auto& [type, places] : in_predicted) in_truth[type];
  EntityScores scores;
  for (const auto& [type, places] : in_truth) {
    const std::set<Place>& said = in_predicted[type];
    ClassScore s;
    s.name = type;
    s.support = std::ssize(places);
    s.predicted = std::ssize(said);
    s.hits = std::count_if(said.begin(), said.end(), [&places = places](const Place& place) {
      return places.contains(place);
    });
    FillShares(s);
    scores.support += s.support;
    scores.predicted += s.predicted;
    scores.types.push_back(std::move(s));
  }
  scores.micro = AverageOf(scores.types, Average::kMicro);
  scores.macro = AverageOf(scores.types, Average::kMacro);
  scores.weighted = AverageOf(scores.types, Average::kWeighted);
  return scores;
}

}  // namespace longspan::metrics
