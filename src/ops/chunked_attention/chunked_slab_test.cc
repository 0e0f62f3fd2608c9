// Chunked attention of slabs: put side by side they are the whole row's.
#include "ops/chunked_attention/chunked_slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "longspan/error.h"
#include "ops/chunked_attention/chunked_attention_test.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan::chunked_test {
namespace {

constexpr float kNothing = std::numeric_limits<float>::quiet_NaN();

// One slab of a case: copies of what it needs, with NaN where nothing is.
class SlabProblem {
 public:
  SlabProblem(const Case& c, const Inputs& x, idx_t first, idx_t last)
      : c_(c), slab_{c.shape.T, first, last} {
    queries_ = {c.shape.B, c.shape.H, slab_.Queries(c.spec), c.shape.D};
    keys_ = {c.shape.B, c.shape.H, slab_.Keys(c.spec), c.shape.D};
    const idx_t begin = first * c.spec.chunk;
    q_ = Taken(x.q, queries_, [&](idx_t t) { return begin + t; });
    dout_ = Taken(x.dout, queries_, [&](idx_t t) { return begin + t; });
    const auto key = [&](idx_t t) { return KeyOf(t); };
    k_ = Taken(x.k, keys_, key);
    v_ = Taken(x.v, keys_, key);
    for (idx_t b = 0; b < c.shape.B && !c.mask.empty(); ++b) {
      for (idx_t t = 0; t < keys_[2]; ++t) {
        const idx_t row = KeyOf(t);
        mask_.push_back(row < 0 ? 1 : c.mask[static_cast<std::size_t>(b * c.shape.T + row)]);
      }
    }
    const auto floats = [](const std::array<idx_t, 4>& shape) {
      return static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]);
    };
    out_.resize(floats(queries_));
    dq_.resize(floats(queries_));
    lse_.resize(floats(queries_) / static_cast<std::size_t>(c.shape.D));
    dk_.resize(floats(keys_));
    dv_.resize(floats(keys_));
  }

  // Forward and backward; adds to what the slabs before it gave.
  void Run(Context& context, Outputs<float>& y) {
    const auto in = [](const std::vector<float>& a, const std::array<idx_t, 4>& shape) {
      return View<const float, 4>(a.data(), shape);
    };
    const auto out = [](std::vector<float>& a, const std::array<idx_t, 4>& shape) {
      return View<float, 4>(a.data(), shape);
    };
    const Qkv qkv{in(q_, queries_), in(k_, keys_), in(v_, keys_)};
    const AttentionSaved saved{out(out_, queries_),
                               {lse_.data(), {queries_[0], queries_[1], queries_[2]}}};
    KeyMask mask;
    if (!mask_.empty()) mask = {mask_.data(), {keys_[0], keys_[2]}};
    ChunkedForward(context, c_.spec, slab_, qkv, mask, saved);
    ChunkedBackward(context, c_.spec, slab_, qkv, mask, saved, in(dout_, queries_),
                    {out(dq_, queries_), out(dk_, keys_), out(dv_, keys_)});
    const idx_t begin = slab_.first * c_.spec.chunk;
    const auto own = [&](idx_t t) { return begin + t; };
    Put(out_, queries_, own, y.out);
    Put(dq_, queries_, own, y.dq);
    const auto key = [&](idx_t t) { return KeyOf(t); };
    Put(dk_, keys_, key, y.dk);
    Put(dv_, keys_, key, y.dv);
    auto rows = queries_;
    rows[3] = 1;
    Put(lse_, rows, own, y.lse);
  }

 private:
  // The row's token that key t of the slab is, or -1: behind the end of a short chunk.
  idx_t KeyOf(idx_t t) const {
    const idx_t L = c_.spec.chunk, chunks = CeilDiv(c_.shape.T, L);
    const idx_t c = (slab_.first - c_.spec.before + t / L + chunks) % chunks;
    const idx_t token = c * L + t % L;
    return token < c_.shape.T ? token : -1;
  }
  template <class Token>
  std::vector<float> Taken(const std::vector<float>& all, const std::array<idx_t, 4>& shape,
                           const Token& token) const {
    std::vector<float> part;
    for (idx_t i = 0; i < shape[0] * shape[1] * shape[2] * shape[3]; ++i) {
      const idx_t d = i % shape[3], t = token(i / shape[3] % shape[2]);
      const idx_t head = i / shape[3] / shape[2];
      part.push_back(t < 0 ? kNothing
                           : all[static_cast<std::size_t>((head * c_.shape.T + t) * shape[3] + d)]);
    }
    return part;
  }
  template <class Token>
  void Put(const std::vector<float>& part, const std::array<idx_t, 4>& shape, const Token& token,
           std::vector<float>& all) const {
    for (idx_t i = 0; i < std::ssize(part); ++i) {
      const idx_t d = i % shape[3], t = token(i / shape[3] % shape[2]);
      const idx_t head = i / shape[3] / shape[2];
      if (t < 0) {
        ASSERT_EQ(part[static_cast<std::size_t>(i)], 0.0f);
        continue;
      }
      all[static_cast<std::size_t>((head * c_.shape.T + t) * shape[3] + d)] +=
          part[static_cast<std::size_t>(i)];
    }
  }

  const Case& c_;
  const ChunkedSlab slab_;
  std::array<idx_t, 4> queries_{}, keys_{};
  std::vector<float> q_, k_, v_, dout_, out_, lse_, dq_, dk_, dv_;
  Mask mask_;
};

// Slabs that begin at these chunks; the last one ends with the row.
Outputs<float> RunSlabs(Context& context, const Case& c, std::vector<idx_t> starts) {
  const Inputs x(c);
  Outputs<float> y(c);
  starts.push_back(CeilDiv(c.shape.T, c.spec.chunk));
  for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
    SlabProblem(c, x, starts[i], starts[i + 1]).Run(context, y);
  }
  return y;
}

struct Cut {
  idx_t T, chunk, before, after;
  bool causal;
  std::vector<idx_t> starts;
};

// Whole chunks and a short last one; slabs of one chunk, narrower than the window; windows of all
// chunks; one slab of the whole row.
const Cut kCuts[] = {
    {48, 8, 1, 0, true, {0, 3}},     {45, 8, 1, 1, false, {0, 2, 3}},
    {45, 8, 2, 1, false, {0, 5}},    {29, 8, 2, 1, true, {0, 1, 2, 3}},
    {29, 8, 2, 1, false, {0, 1, 3}}, {700, 4, 2, 1, false, {0, 130}},
    {45, 8, 1, 1, false, {0}},
};

TEST(ChunkedSlab, SlabsSideBySideAreTheRow) {
  Context context(2);
  for (const Cut& cut : kCuts) {
    for (const Padding padding : {Padding::kNone, Padding::kHoles, Padding::kWholeChunks}) {
      Case c = MakeCase(cut.T, cut.chunk, cut.before, cut.after, cut.causal, 5, 2);
      c.mask = MakeMask(c, padding);
      SCOPED_TRACE(c.Name());
      ExpectOutputs(c, RunSlabs(context, c, cut.starts));
    }
  }
}

TEST(ChunkedSlab, DrawsTheMasksOfTheRow) {
  Context context(2);
  Case c = MakeCase(45, 8, 1, 1, false);
  c.spec.dropout = {0.3f, 99};
  ExpectOutputs(c, RunSlabs(context, c, {0, 2, 3}));
  c.spec.dropout = {0.3f, 99, 1, 5};  // two of five heads
  const Outputs<float> some = RunSlabs(context, c, {0, 2, 3});
  EXPECT_MATCHES(std::span<const float>(some.out),
                 std::span<const float>(RunKernel(context, c, Inputs(c)).out),
                 (test::Tolerance{1e-5, 1e-6}));
}

// Where slabs are cut as tasks are, sums have the same order.
TEST(ChunkedSlab, HasTheBitsOfTheRow) {
  Context context(2);
  Case c = MakeCase(700, 8, 1, 0, true);
  const Outputs<float> row = RunKernel(context, c, Inputs(c));
  const Outputs<float> slabs = RunSlabs(context, c, {0, 64});  // 512 tokens a task
  EXPECT_SAME_BITS(std::span<const float>(slabs.out), std::span<const float>(row.out));
  EXPECT_SAME_BITS(std::span<const float>(slabs.dq), std::span<const float>(row.dq));
  EXPECT_SAME_BITS(std::span<const float>(slabs.dk), std::span<const float>(row.dk));
}

TEST(ChunkedSlab, AnyNumberOfThreadsGivesTheSameBits) {
  Case c = MakeCase(1500, 8, 1, 1, false);
  Context one(1), seven(7);
  const Outputs<float> a = RunSlabs(one, c, {0, 90}), b = RunSlabs(seven, c, {0, 90});
  EXPECT_SAME_BITS(std::span<const float>(a.dk), std::span<const float>(b.dk));
  EXPECT_SAME_BITS(std::span<const float>(a.out), std::span<const float>(b.out));
}

TEST(ChunkedSlab, RefusesSlabsThatAreNone) {
  Context context(1);
  const auto refused = [&](const Case& c, idx_t first, idx_t last, std::string_view says) {
    const Inputs x(c);
    Outputs<float> y(c);
    EXPECT_TRUE(test::Throws([&] { SlabProblem(c, x, first, last).Run(context, y); },
                             ErrorCode::kUsage, says))
        << says;
  };
  refused(MakeCase(8, 8, 1, 0, true), 0, 1, "1 chunks of 8");
  refused(MakeCase(20, 8, 2, 2, true), 0, 2, "as many as a window, 5");
  refused(MakeCase(45, 8, 1, 0, true), 3, 3, "from chunk 3 to 3");
  refused(MakeCase(45, 8, 1, 0, true), 3, 7, "from chunk 3 to 7");
}

}  // namespace
}  // namespace longspan::chunked_test
