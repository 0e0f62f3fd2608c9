// Beam search: the likeliest continuations, several followed at once.

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/errors.h"
#include "generate/generation.h"
#include "generate/text_decoder.h"

namespace longspan {
namespace {

struct Beam {
  std::vector<std::int32_t> tokens;
  double sum = 0.0;  // of log-probabilities
};

struct Candidate {
  double sum;
  std::size_t beam;
  std::int32_t id;
};

// Better ones first; of equals the earlier beam and the lower id.
bool Better(const Candidate& a, const Candidate& b) {
  if (a.sum != b.sum) return a.sum > b.sum;
  return a.beam != b.beam ? a.beam < b.beam : a.id < b.id;
}

class Search {
 public:
  Search(Context& context, const GenerativeModel& model, std::span<const std::int32_t> prompt,
         const TokenGeneration& options, const BeamOptions& beam)
      : context_(context),
        model_(model),
        options_(options),
        beam_(beam),
        prompt_(prompt.begin(), prompt.end()),
        decoder_(model.MakeDecoder(options.cache)) {
    decoder_->Add(context, prompt, RoomFor(model, prompt.size(), options));
    live_.resize(1);
  }

  std::vector<Continuation> Run() {
    for (idx_t length = 1; length <= options_.tokens && !live_.empty(); ++length) {
      const std::vector<Candidate> candidates = Candidates();
      if (!Follow(candidates, length)) break;
      if (length < options_.tokens) Advance();
    }
    for (const Beam& beam : live_) {
      if (!beam.tokens.empty()) End(beam.tokens, beam.sum, beam.tokens.size(), Ending::kTokens);
    }
    return std::move(ended_);
  }

 private:
  double Score(double sum, std::size_t length) const {
    return sum / std::pow(static_cast<double>(length), beam_.length_penalty);
  }

  // Log-probabilities of the token after a beam, with penalty and banned tokens.
  void NextScores(std::size_t beam) {
    const std::span<const float> logits = decoder_->logits(static_cast<idx_t>(beam));
    const float most = *std::max_element(logits.begin(), logits.end());
    double sum = 0.0;
    for (const float logit : logits) {
      Check(!std::isnan(logit) && logit != INFINITY, ErrorCode::kNumeric,
            "generate: a logit is {}, not a finite number", logit);
      sum += std::exp(static_cast<double>(logit) - static_cast<double>(most));
    }
    const double log_sum = static_cast<double>(most) + std::log(sum);
    scores_.clear();
    for (const float logit : logits) {
      scores_.push_back(static_cast<float>(static_cast<double>(logit) - log_sum));
    }
    if (options_.sampling.repetition_penalty != 1.0) {
      text_ = prompt_;
      text_.insert(text_.end(), live_[beam].tokens.begin(), live_[beam].tokens.end());
      PenaliseRepetition(text_, options_.sampling.repetition_penalty, &seen_, scores_);
    }
    Ban(options_.banned, scores_);
  }

  // The 2 K best ways to go on, best first.
  std::vector<Candidate> Candidates() {
    std::vector<Candidate> all;
    const auto wanted = static_cast<std::size_t>(2 * beam_.beams);
    const auto shorten = [wanted](std::vector<Candidate>* list) {
      const std::size_t kept = std::min(wanted, list->size());
      std::partial_sort(list->begin(), list->begin() + static_cast<std::ptrdiff_t>(kept),
                        list->end(), Better);
      list->resize(kept);
    };
    for (std::size_t beam = 0; beam < live_.size(); ++beam) {
      NextScores(beam);
      for (std::size_t id = 0; id < scores_.size(); ++id) {
        if (scores_[id] == -INFINITY) continue;
        all.push_back({live_[beam].sum + static_cast<double>(scores_[id]), beam,
                       static_cast<std::int32_t>(id)});
      }
      shorten(&all);
    }
    return all;
  }

  // Ends texts and chooses the beams that go on; false when the search is over.
  bool Follow(const std::vector<Candidate>& candidates, idx_t length) {
    const auto beams = static_cast<std::size_t>(beam_.beams);
    std::vector<Beam> next;
    from_.clear();
    for (std::size_t rank = 0; rank < candidates.size() && next.size() < beams; ++rank) {
      const Candidate& c = candidates[rank];
      std::vector<std::int32_t> tokens = live_[c.beam].tokens;
      const bool end_of_text = EndsText(model_, options_, c.id);
      if (!end_of_text) tokens.push_back(c.id);
      if (end_of_text || (options_.stop && options_.stop(tokens))) {
        if (rank < beams) {
          End(std::move(tokens), c.sum, static_cast<std::size_t>(length),
              end_of_text ? Ending::kEndOfText : Ending::kStopRule);
        }
        continue;
      }
      next.push_back({std::move(tokens), c.sum});
      from_.push_back(static_cast<idx_t>(c.beam));
    }
    live_ = std::move(next);
    const bool full = ended_.size() == beams;
    return !(full && !live_.empty() &&
             Score(live_.front().sum, static_cast<std::size_t>(length)) <= ended_.back().score);
  }

  // Keeps the best `beams` of the ended texts, best first.
  void End(std::vector<std::int32_t> tokens, double sum, std::size_t length, Ending ending) {
    Continuation text{std::move(tokens), ending, Score(sum, length)};
    const auto place = std::upper_bound(
        ended_.begin(), ended_.end(), text,
        [](const Continuation& a, const Continuation& b) { return a.score > b.score; });
    ended_.insert(place, std::move(text));
    if (ended_.size() > static_cast<std::size_t>(beam_.beams)) ended_.pop_back();
  }

  void Advance() {
    decoder_->Select(from_);
    std::vector<idx_t> places;
    std::vector<std::int32_t> ids;
    for (const Beam& beam : live_) {
      places.push_back(static_cast<idx_t>(places.size()));
      ids.push_back(beam.tokens.back());
    }
    decoder_->Step(context_, places, ids);
  }

  Context& context_;
  const GenerativeModel& model_;
  const TokenGeneration& options_;
  const BeamOptions& beam_;
  const std::vector<std::int32_t> prompt_;
  std::unique_ptr<TextDecoder> decoder_;
  std::vector<Beam> live_;   // by their place in the decoder
  std::vector<idx_t> from_;  // the beam that each of them goes on from
  std::vector<Continuation> ended_;
  std::vector<float> scores_;
  std::vector<std::int32_t> text_;
  std::vector<bool> seen_;
};

}  // namespace

void CheckBeamOptions(const BeamOptions& beam) {
  Check(beam.beams >= 1 && beam.beams <= 1024, ErrorCode::kUsage, "beams: {} is not from 1 to 1024",
        beam.beams);
  Check(std::abs(beam.length_penalty) <= 100.0, ErrorCode::kUsage,
        "length-penalty: {} is not from -100 to 100", beam.length_penalty);
}

std::vector<Continuation> BeamSearch(Context& context, const GenerativeModel& model,
                                     std::span<const std::int32_t> prompt,
                                     const TokenGeneration& options, const BeamOptions& beam) {
  CheckGeneration(model, prompt.size(), options);
  CheckBeamOptions(beam);
  const idx_t longest = options.context > 0 ? options.context : model.LongestText();
  Check(options.tokens <= longest - static_cast<idx_t>(prompt.size()), ErrorCode::kUsage,
        "generate: a beam search over {} tokens and {} new ones needs as many positions, there are "
        "{}",
        prompt.size(), options.tokens, longest);
  return Search(context, model, prompt, options, beam).Run();
}

}  // namespace longspan
