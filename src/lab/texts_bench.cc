#include "lab/texts_bench.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/bfloat16.h"
#include "base/errors.h"
#include "base/huge_pages.h"
#include "base/memory_limit.h"
#include "base/rng.h"
#include "catalogue/mechanism.h"
#include "longspan/attention.h"
#include "longspan/files.h"
#include "longspan/machine.h"

namespace longspan {
namespace {

constexpr idx_t kShortest = 20, kLongest = 4000;
constexpr double kMedian = 200.0, kDeviation = 1.1;
constexpr std::uint64_t kLengthsKey = 20;

template <class T>
using Pages = std::vector<T, PageAllocator<T>>;

// Texts one after another in one row. Tensors are (T, H*D), heads side by side, as models have
// them.
template <class T>
class TextsProblem {
 public:
  TextsProblem(const TextsBenchOptions& options, const std::vector<idx_t>& lengths)
      : options_(options) {
    starts_.push_back(0);
    for (const idx_t length : lengths) starts_.push_back(starts_.back() + length);
    const auto size = static_cast<std::size_t>(tokens() * Width());
    std::uint64_t key = 1;
    for (Pages<T>* drawn : {&q_, &k_, &v_, &dout_}) {
      drawn->resize(size);
      Draw(key++, drawn);
    }
    out_.resize(size);
    lse_.resize(static_cast<std::size_t>(tokens() * options.heads));
    for (Pages<float>* gradient : {&dq_, &dk_, &dv_}) gradient->resize(size);
  }

  idx_t tokens() const { return starts_.back(); }

  // All texts in one call.
  void Together(Context& context) { Run(context, starts_, 0, tokens()); }
  // One call a text.
  void Apart(Context& context) {
    for (std::size_t d = 0; d + 1 < starts_.size(); ++d) {
      Run(context, {}, starts_[d], starts_[d + 1] - starts_[d]);
    }
  }

  // The largest relative difference (L2) of a result between the two ways.
  double Difference(Context& context) {
    Clear();
    Together(context);
    const Pages<T> out = out_;
    const Pages<float> dq = dq_, dk = dk_, dv = dv_;
    Clear();
    Apart(context);
    double worst = Relative(out, out_);
    if (!options_.backward) return worst;
    for (const auto& [a, b] : {std::pair{&dq, &dq_}, {&dk, &dk_}, {&dv, &dv_}}) {
      const double difference = Relative(*a, *b);
      worst = std::isnan(difference) ? difference : std::max(worst, difference);
    }
    return worst;
  }

 private:
  idx_t Width() const { return options_.heads * options_.head_size; }

  // Blocks bound the memory of what is rounded.
  static void Draw(std::uint64_t key, Pages<T>* to) {
    constexpr std::size_t kBlock = std::size_t{1} << 20;
    std::vector<float> values;
    for (std::size_t begin = 0; begin < to->size(); begin += kBlock) {
      values.resize(std::min(kBlock, to->size() - begin));
      FillNormal(DeriveKey(key, begin), 1.0f, values.data(), static_cast<idx_t>(values.size()));
      for (std::size_t i = 0; i < values.size(); ++i) {
        if constexpr (std::is_same_v<T, float>) {
          (*to)[begin + i] = values[i];
        } else {
          (*to)[begin + i] = ToBfloat16(values[i]);
        }
      }
    }
  }

  void Clear() {
    for (Pages<float>* gradient : {&dq_, &dk_, &dv_}) {
      std::fill(gradient->begin(), gradient->end(), 0.0f);
    }
  }

  template <class E>
  static double Relative(const Pages<E>& a, const Pages<E>& b) {
    double difference = 0.0, norm = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const auto x = static_cast<double>(Number(a[i])), y = static_cast<double>(Number(b[i]));
      difference += (x - y) * (x - y);
      norm += y * y;
    }
    return std::sqrt(difference / norm);
  }
  static float Number(float x) { return x; }
  static float Number(bfloat16 x) { return ToFloat(x); }

  // Tokens [begin, begin + count) as (1, H, count, D).
  template <class E>
  View<E, 4> Heads(E* data, idx_t begin, idx_t count) const {
    const idx_t width = Width(), size = options_.head_size;
    return {data + begin * width, {1, options_.heads, count, size}, {0, size, width, 1}};
  }

  void Run(Context& context, TextStarts starts, idx_t begin, idx_t count) {
    const auto in = [&](const Pages<T>& x) {
      return View<const T, 4>(Heads(x.data(), begin, count));
    };
    const QkvOf<T> qkv{in(q_), in(k_), in(v_)};
    const AttentionSavedOf<T> saved{
        Heads(out_.data(), begin, count),
        {lse_.data() + begin * options_.heads, {1, options_.heads, count}}};
    const DQkv gradients{Heads(dq_.data(), begin, count), Heads(dk_.data(), begin, count),
                         Heads(dv_.data(), begin, count)};
    if (options_.kind == "full") {
      FullSpec spec;
      spec.causal = options_.causal;
      spec.starts = starts;
      FullForward(context, spec, qkv, {}, saved);
      if (options_.backward) FullBackward(context, spec, qkv, {}, saved, in(dout_), gradients);
    } else {
      WindowSpec spec;
      spec.left = spec.right = options_.window;
      spec.causal = options_.causal;
      spec.starts = starts;
      WindowForward(context, spec, qkv, {}, saved);
      if (options_.backward) WindowBackward(context, spec, qkv, {}, saved, in(dout_), gradients);
    }
  }

  TextsBenchOptions options_;
  std::vector<idx_t> starts_;
  Pages<T> q_, k_, v_, dout_, out_;
  Pages<float> lse_, dq_, dk_, dv_;
};

void CheckTextsOptions(const TextsBenchOptions& options) {
  Check(options.kind == "full" || options.kind == "window", ErrorCode::kUsage,
        "bench: --texts is for --kind full and window, not for '{}'", io::Escape(options.kind));
  for (const auto& [what, value] : {std::pair{"texts", options.texts},
                                    {"heads", options.heads},
                                    {"head-dim", options.head_size}}) {
    Check(value >= 1 && value <= (idx_t{1} << 24), ErrorCode::kUsage,
          "bench: --{} {}, need 1 to {}", what, value, idx_t{1} << 24);
  }
  Check(options.window >= 0, ErrorCode::kUsage, "bench: --window {}, need at least 0",
        options.window);
}

// Pairs of a query and a key that it sees, of one head.
double PairsOfText(const TextsBenchOptions& options, idx_t tokens) {
  const idx_t reach = options.kind == "full" ? tokens : options.window;
  double pairs = 0.0;
  for (idx_t t = 0; t < tokens; ++t) {
    const idx_t after = options.causal ? 0 : std::min(reach, tokens - 1 - t);
    pairs += static_cast<double>(std::min(reach, t) + 1 + after);
  }
  return pairs;
}

template <class T>
TextsBenchTimes Time(Context& context, const TextsBenchOptions& options,
                     const std::vector<idx_t>& lengths) {
  TextsProblem<T> problem(options, lengths);
  TextsBenchTimes times;
  times.texts = options.texts;
  times.tokens = problem.tokens();
  times.shortest = *std::min_element(lengths.begin(), lengths.end());
  times.longest = *std::max_element(lengths.begin(), lengths.end());
  times.largest_error = problem.Difference(context);
  Check(times.largest_error <= catalogue::LargestRowError(options.bf16), ErrorCode::kNumeric,
        "bench: one call for all texts differs from one call a text by {:.2e} of a result",
        times.largest_error);
  std::vector<double> together, apart, ratios, peaks;
  for (idx_t i = 0; i < options.repetitions; ++i) {
    peaks.push_back(options.bf16 ? ProbeBf16Gflops(context) : ProbeFp32Gflops(context));
    together.push_back(SecondsOf([&] { problem.Together(context); }));
    apart.push_back(SecondsOf([&] { problem.Apart(context); }));
    ratios.push_back(apart.back() / together.back());
  }
  times.together = Median(together);
  times.apart = Median(apart);
  times.ratio = Median(ratios);
  times.ratio_min = *std::min_element(ratios.begin(), ratios.end());
  times.ratio_max = *std::max_element(ratios.begin(), ratios.end());
  times.peak_gflops = Median(peaks);
  double pairs = 0.0;
  for (const idx_t length : lengths) pairs += PairsOfText(options, length);
  const double flop = catalogue::kForwardFlop + (options.backward ? catalogue::kBackwardFlop : 0.0);
  times.gflop = 1e-9 * flop * pairs * static_cast<double>(options.heads * options.head_size);
  return times;
}

}  // namespace

std::vector<idx_t> BenchTextLengths(idx_t texts) {
  std::vector<float> normal(static_cast<std::size_t>(texts));
  FillNormal(kLengthsKey, 1.0f, normal.data(), texts);
  std::vector<idx_t> lengths;
  for (const float x : normal) {
    const double length = kMedian * std::exp(kDeviation * static_cast<double>(x));
    lengths.push_back(std::clamp(static_cast<idx_t>(length), kShortest, kLongest));
  }
  return lengths;
}

TextsBenchTimes TimeTexts(Context& context, const TextsBenchOptions& options) {
  CheckTextsOptions(options);
  const std::vector<idx_t> lengths = BenchTextLengths(options.texts);
  idx_t tokens = 0;
  for (const idx_t length : lengths) tokens += length;
  // Eight tensors, and for the comparison four of them again; __int128 because H*D has no bound.
  const auto bytes = static_cast<unsigned __int128>(tokens) *
                     static_cast<unsigned __int128>(options.heads * options.head_size) * 12 * 4;
  CheckMemory(fmt::format("bench: {} texts of {} tokens together x {} heads x {}", options.texts,
                          tokens, options.heads, options.head_size),
              bytes > UINT64_MAX ? UINT64_MAX : static_cast<std::uint64_t>(bytes));
  return options.bf16 ? Time<bfloat16>(context, options, lengths)
                      : Time<float>(context, options, lengths);
}

}  // namespace longspan
