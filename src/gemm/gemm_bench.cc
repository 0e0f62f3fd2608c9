// Dense layers: forward, gradient of the input, gradient of the weights. Verifies a sample of rows
// in double, then times. On a machine with a tile unit each product of bf16 is timed twice, on
// oneDNN ("bf16") and then on our own product ("bf16-tiles"), both as fractions of the unit's peak,
// and so is fp32: as it is ("fp32") and from three bf16 parts ("fp32-split"), as fractions of
// fp32's peak.
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "base/bfloat16.h"
#include "base/dense_path.h"
#include "base/errors.h"
#include "base/isa.h"
#include "base/math.h"
#include "base/rng.h"
#include "bench/support/bench.h"
#include "gemm/gemm.h"
#include "longspan/tensor.h"

namespace longspan::gemm {
namespace {

// Who multiplies: an operand type and the path of bf16 products.
struct Kind {
  const char* name;
  bool bf16;
  std::optional<DensePath> path;  // std::nullopt: what the rule says
  bool split = false;             // fp32 from bf16 parts
};

std::vector<Kind> Kinds() {
  std::vector<Kind> kinds = {{"fp32", false, std::nullopt}, {"bf16", true, std::nullopt}};
  if (ActiveIsa() >= Isa::kAvx512Bf16) kinds.back().path = DensePath::kLibrary;
  if (ActiveIsa() >= Isa::kAmx && PermitTiles()) {
    kinds.push_back({"bf16-tiles", true, DensePath::kTiles});
    kinds.push_back({"fp32-split", false, DensePath::kTiles, true});
  }
  return kinds;
}

enum class Pass { kForward, kData, kWeights };

// Tokens, inputs, outputs.
struct Shape {
  idx_t T, K, N;
};

template <class T>
constexpr DType kType = std::is_same_v<T, float> ? DType::kF32 : DType::kBF16;

float Widen(float value) { return value; }
float Widen(bfloat16 value) { return ToFloat(value); }

template <class T>
Tensor RandomTensor(std::uint64_t seed, idx_t rows, idx_t cols) {
  Tensor values({rows, cols});
  FillNormal(seed, 1.0f, values.data<float>(), values.size());
  if constexpr (std::is_same_v<T, float>) {
    return values;
  } else {
    Tensor narrow({rows, cols}, DType::kBF16);
    for (idx_t i = 0; i < values.size(); ++i) {
      narrow.data<bfloat16>()[i] = ToBfloat16(values.data<float>()[i]);
    }
    return narrow;
  }
}

template <class T>
View<T, 2> ViewOf(Tensor& tensor) {
  return {tensor.data<T>(), {tensor.shape()[0], tensor.shape()[1]}};
}

// "" when 64 sampled elements of c (m, n) = a b over k terms are right; element (i, j) of a and b
// by callables.
template <class A, class B>
std::string CheckSample(const View<float, 2>& c, idx_t k, const A& a, const B& b) {
  for (int sample = 0; sample < 64; ++sample) {
    const idx_t i = (sample * 7919) % c.extent[0], j = (sample * 104729) % c.extent[1];
    double sum = 0.0, magnitude = 0.0;
    for (idx_t p = 0; p < k; ++p) {
      const double term = static_cast<double>(a(i, p)) * static_cast<double>(b(p, j));
      sum += term;
      magnitude += std::abs(term);
    }
    const double allowed = 4.0 * std::sqrt(static_cast<double>(k)) * 0x1p-24 * magnitude;
    const double off = std::abs(static_cast<double>(c(i, j)) - sum);
    if (!(off <= allowed)) return fmt::format("element ({}, {}) is off by {}", i, j, off);
  }
  return {};
}

template <class T>
void RunPass(benchmark::State& state, Pass pass, const Shape& shape) {
  Context& context = bench::SharedContext();
  Tensor x = RandomTensor<T>(1, shape.T, shape.K), w = RandomTensor<T>(2, shape.N, shape.K);
  Tensor dy = RandomTensor<T>(3, shape.T, shape.N);
  const View<T, 2> vx = ViewOf<T>(x), vw = ViewOf<T>(w), vdy = ViewOf<T>(dy);
  Tensor result(pass == Pass::kForward ? std::vector<idx_t>{shape.T, shape.N}
                : pass == Pass::kData  ? std::vector<idx_t>{shape.T, shape.K}
                                       : std::vector<idx_t>{shape.N, shape.K});
  const View<float, 2> out = ViewOf<float>(result);
  const auto run = [&] {
    switch (pass) {
      case Pass::kForward:
        return Forward(context, vx, vw, nullptr, out);
      case Pass::kData:
        return BackwardData(context, vdy, vw, out);
      case Pass::kWeights:
        return BackwardWeights(context, vdy, vx, out);
    }
  };
  const auto at = [](const View<T, 2>& view) {
    return [&view](idx_t i, idx_t j) { return Widen(view(i, j)); };
  };
  const auto transposed = [](const View<T, 2>& view) {
    return [&view](idx_t i, idx_t j) { return Widen(view(j, i)); };
  };
  if (!bench::Verify(state, [&] {
        run();
        switch (pass) {
          case Pass::kForward:
            return CheckSample(out, shape.K, at(vx), transposed(vw));
          case Pass::kData:
            return CheckSample(out, shape.N, at(vdy), at(vw));
          case Pass::kWeights:
            break;
        }
        return CheckSample(out, shape.T, transposed(vdy), at(vx));
      })) {
    return;
  }
  for (auto _ : state) run();
  const bool hardware = kType<T> == DType::kBF16 && ActiveDensePath() != DensePath::kWiden;
  bench::ReportFlops(state, 2.0 * static_cast<double>(shape.T * shape.K * shape.N),
                     hardware ? bench::Against::kBf16 : bench::Against::kFp32);
}

void Register() {
  const Shape shapes[] = {{4096, 768, 3072},  {4096, 3072, 768},  {16384, 512, 512},
                          {16384, 512, 2048}, {16384, 2048, 512}, {8192, 384, 384},
                          {8192, 384, 1536},  {8192, 1536, 384},  {2048, 256, 256},
                          {2048, 256, 1024},  {2048, 1024, 256},  {2048, 256, 258},
                          {16, 512, 2048},    {1, 512, 2048}};
  const std::pair<Pass, const char*> passes[] = {
      {Pass::kForward, "forward"}, {Pass::kData, "dx"}, {Pass::kWeights, "dw"}};
  const auto add = [](const Kind& kind, const Shape& shape, Pass pass, const char* name) {
    const std::string label =
        fmt::format("{}/{}x{}to{}/{}", kind.name, shape.T, shape.K, shape.N, name);
    benchmark::RegisterBenchmark(label.c_str(),
                                 [kind, pass, shape](benchmark::State& state) {
                                   ForceDensePath(kind.path);
                                   SplitFp32(kind.split);
                                   kind.bf16 ? RunPass<bfloat16>(state, pass, shape)
                                             : RunPass<float>(state, pass, shape);
                                 })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  };
  const std::vector<Kind> kinds = Kinds();
  for (const bool bf16 : {false, true}) {
    for (const Shape& shape : shapes) {
      for (const auto& [pass, name] : passes) {
        // The ways to multiply bf16 follow each other, so that they see the same machine.
        for (const Kind& kind : kinds) {
          if (kind.bf16 == bf16) add(kind, shape, pass, name);
        }
      }
    }
  }
}

}  // namespace
}  // namespace longspan::gemm

int main(int argc, char** argv) {
  try {
    longspan::gemm::Register();
  } catch (const longspan::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return longspan::bench::Main(argc, argv);
}
