// What the tests of both forms of the feed-forward block compare with.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "ops/feed_forward/feed_forward.h"
#include "ops/feed_forward/feed_forward_ref.h"
#include "tests/support/compare.h"
#include "tests/support/remember.h"

namespace longspan::test {

// f, then the gradients of sum(f * dy) in the order of the inputs.
inline constexpr const char* kFeedForwardParts[] = {"f", "dx", "dw1", "db1", "dw2", "db2"};

template <class T>
std::vector<std::vector<T>> FeedForwardParts(const FeedForwardSpec& spec,
                                             const FeedForwardReferenceInputs<T>& in,
                                             const std::vector<T>& dy) {
  const FeedForwardReferenceInputs<T> d = spec.gated ? GatedReferenceBackward(spec, in, dy)
                                                     : FeedForwardReferenceBackward(spec, in, dy);
  return {spec.gated ? GatedReference(spec, in) : FeedForwardReference(spec, in),
          d.x,
          d.w1,
          d.b1,
          d.w2,
          d.b2};
}

inline Key FeedForwardKey(std::string_view function, const FeedForwardSpec& spec,
                          const FeedForwardReferenceInputs<float>& in,
                          const std::vector<float>& dy) {
  Key key(function);
  key.Add(spec.activation).Add(spec.gated).Add(spec.first);
  for (const Dropout& site : {spec.hidden, spec.output}) key.Add(site.p).Add(site.key);
  for (const auto* part : {&in.x, &in.w1, &in.b1, &in.w2, &in.b2, &dy}) key.Add(*part);
  return key;
}

// The parts in double.
inline std::vector<std::vector<double>> FeedForwardOracle(
    const FeedForwardSpec& spec, const FeedForwardReferenceInputs<float>& in,
    const std::vector<float>& dy) {
  return RememberLists(FeedForwardKey("feed forward", spec, in, dy), [&] {
    const auto as = [](const std::vector<float>& v) {
      return std::vector<double>(v.begin(), v.end());
    };
    return FeedForwardParts<double>(spec, {as(in.x), as(in.w1), as(in.b1), as(in.w2), as(in.b2)},
                                    as(dy));
  });
}

// Kernels' parts against the reference in double, at the tolerances that one in float gives.
inline void ExpectFeedForward(const FeedForwardSpec& spec,
                              const FeedForwardReferenceInputs<float>& in,
                              const std::vector<float>& dy, const std::vector<float>& f,
                              const FeedForwardReferenceInputs<float>& d) {
  const auto oracle = FeedForwardOracle(spec, in, dy);
  const auto tolerance =
      RememberTolerances(FeedForwardKey("feed forward tolerance", spec, in, dy), [&] {
        std::vector<Tolerance> all;
        for (const std::vector<float>& naive : FeedForwardParts<float>(spec, in, dy)) {
          const std::size_t part = all.size();
          all.push_back(DerivedTolerance(naive, oracle[part], part == 0 ? 2 : 3));
        }
        return all;
      });
  const std::vector<float>* actual[] = {&f, &d.x, &d.w1, &d.b1, &d.w2, &d.b2};
  for (std::size_t part = 0; part < oracle.size(); ++part) {
    const Difference difference =
        Compare(std::span<const float>(*actual[part]), oracle[part], tolerance[part]);
    EXPECT_TRUE(difference.ok) << kFeedForwardParts[part] << ": " << difference.reason;
  }
}

}  // namespace longspan::test
