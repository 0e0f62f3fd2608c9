#include "gemm/primitive.h"

#include <omp.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <string>

#include "base/errors.h"

namespace longspan::gemm {
namespace {

using dnnl::memory;

// oneDNN asks OpenMP how many threads it may use, both when a primitive is made and when it runs.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

[[noreturn]] void FailRoom(std::size_t bytes, const std::string& what) {
  Fail(ErrorCode::kLimit, "{}: the system refuses the {} bytes that oneDNN may need", what, bytes);
}

// Whoever makes code holds it.
std::mutex& CodeMutex() {
  static std::mutex mutex;
  return mutex;
}

// oneDNN 2.6 writes to what it allocates (a stream and arguments for each run, the code of its
// kernels) without a look at whether it got it: a process whose memory is gone would end there. So
// pieces that hold all of it are asked for first and given back at once, for oneDNN to find: of the
// heap, and where code is made also of addresses. Throws kLimit; what() then names the product.
template <class What>
void CheckHeap(const What& what) {
  constexpr std::size_t kHeap = std::size_t{32} << 10;
  void* volatile heap = std::malloc(kHeap);  // volatile: a compiler may leave out what is unused
  if (heap == nullptr) FailRoom(kHeap, what());
  std::free(heap);
}

// While it is held no other thread makes code, or takes away what was asked for.
template <class What>
std::unique_lock<std::mutex> LockForCode(const What& what) {
  std::unique_lock lock(CodeMutex());
  CheckHeap(what);  // a thread's first allocation reserves addresses: not while another makes code
  // On AVX-512 products have some hundred kernels, 256 KiB each while they are made. Beside them
  // the heap of a thread may grow, by 64 MiB of addresses at once. No page of all that is touched.
  constexpr std::size_t kCode = std::size_t{128} << 20;
  void* code = mmap(nullptr, kCode, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) FailRoom(kCode, what());
  munmap(code, kCode);
  return lock;
}

// As a rule for want of memory.
[[noreturn]] void FailRefused(const std::string& what, const dnnl::error& error) {
  Fail(ErrorCode::kLimit, "{}: oneDNN refuses it: {}", what, error.what());
}

std::string ProductText(const ProductShape& shape) {
  return fmt::format("dense layer: the product ({} x {}) ({} x {})", shape.m, shape.k, shape.k,
                     shape.n);
}

dnnl::cpu_isa LibraryName(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
    case Isa::kSse4:
      return dnnl::cpu_isa::sse41;  // the lowest that oneDNN knows
    case Isa::kAvx2:
      return dnnl::cpu_isa::avx2;
    case Isa::kAvx512:
      return dnnl::cpu_isa::avx512_core;
    case Isa::kAvx512Bf16:
      return dnnl::cpu_isa::avx512_core_bf16;
    case Isa::kAmx:
      break;
  }
  return dnnl::cpu_isa::avx512_core_amx;
}

// The engine, after oneDNN was capped to the active instruction set, which works once a process.
const dnnl::engine& Engine() {
  static const dnnl::engine engine = [] {
    ApplyIsaCap();  // from here on the cap is fixed
    // Refused when another user of the library came first; LibraryIsa() then tells.
    dnnl::set_max_cpu_isa(LibraryName(ActiveIsa()));
    try {
      const OneThread guard;
      const auto code = LockForCode([] { return std::string("dense layer: the engine"); });
      dnnl::engine made(dnnl::engine::kind::cpu, 0);
      // The kernels that all products share are made here, before threads ask for memory beside it.
      float one = 1.0f, product = 0.0f;
      dnnl::sgemm('N', 'N', 1, 1, 1, 1.0f, &one, 1, &one, 1, 0.0f, &product, 1);
      return made;
    } catch (const dnnl::error& error) {
      FailRefused("dense layer: the engine", error);
    }
  }();
  return engine;
}

memory::data_type LibraryType(DType dtype) {
  return dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
}

dnnl::primitive_attr Attributes(bool accumulate) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attributes.set_post_ops(ops);
  }
  return attributes;
}

dnnl::matmul::primitive_desc Describe(const memory::desc& a, const memory::desc& b,
                                      const memory::desc& c, bool accumulate) {
#if DNNL_VERSION_MAJOR >= 3
  return {Engine(), a, b, c, Attributes(accumulate)};
#else
  return {{a, b, c}, Attributes(accumulate), Engine()};
#endif
}

// impl_info_str belongs to its descriptor; LastImplementation outlives it.
const char* Intern(const char* text) {
  static std::mutex mutex;
  static std::map<std::string, int> names;
  const std::lock_guard lock(mutex);
  return names.emplace(text, 0).first->first.c_str();
}

class LibraryProduct final : public Product {
 public:
  explicit LibraryProduct(const ProductShape& shape)
      : a_({shape.m, shape.k}, LibraryType(shape.dtype), memory::dims{shape.a_row, shape.a_col}),
        plain_b_({shape.k, shape.n}, LibraryType(shape.dtype),
                 memory::dims{shape.b_row, shape.b_col}),
        c_({shape.m, shape.n}, memory::data_type::f32, memory::dims{shape.c_row, 1}),
        descriptor_(Describe(a_,
                             shape.packed
                                 ? memory::desc({shape.k, shape.n}, LibraryType(shape.dtype),
                                                memory::format_tag::any)
                                 : plain_b_,
                             c_, shape.accumulate)),
        b_(descriptor_.weights_desc()),
        scratch_(descriptor_.scratchpad_desc()),
        product_(descriptor_),
        implementation_(Intern(descriptor_.impl_info_str())),
        shape_(shape) {}

  std::size_t scratch_bytes() const override { return scratch_.get_size(); }
  const char* implementation() const override { return implementation_; }
  std::size_t packed_bytes() const override { return b_.get_size(); }

  bool SameOrder(const Product& other) const override {
    return b_ == static_cast<const LibraryProduct&>(other).b_;
  }

  void Run(const void* a, const void* b, float* c, void* scratch) const override {
    const OneThread guard;
    const auto what = [&] { return ProductText(shape_); };
    std::unique_lock<std::mutex> code;
    if (ran_.load(std::memory_order_relaxed)) {
      CheckHeap(what);
    } else {
      code = LockForCode(what);  // some kernels are made at the first run
    }
    Told([&] {
      dnnl::stream stream(Engine());
      product_.execute(stream, {{DNNL_ARG_SRC, memory(a_, Engine(), const_cast<void*>(a))},
                                {DNNL_ARG_WEIGHTS, memory(b_, Engine(), const_cast<void*>(b))},
                                {DNNL_ARG_DST, memory(c_, Engine(), c)},
                                {DNNL_ARG_SCRATCHPAD, memory(scratch_, Engine(), scratch)}});
      stream.wait();
    });
    ran_.store(true, std::memory_order_relaxed);
  }

  void Pack(const void* b, void* packed) const override {
    const OneThread guard;
    const auto code = LockForCode([&] { return ProductText(shape_); });
    Told([&] {
      dnnl::stream stream(Engine());
      memory from(plain_b_, Engine(), const_cast<void*>(b));
      memory to(b_, Engine(), packed);
      dnnl::reorder(from, to).execute(stream, from, to);
      stream.wait();
    });
  }

 private:
  // call(); text is made only when oneDNN refuses.
  template <class Call>
  void Told(const Call& call) const {
    try {
      call();
    } catch (const dnnl::error& error) {
      FailRefused(ProductText(shape_), error);
    }
  }

  memory::desc a_, plain_b_, c_;
  dnnl::matmul::primitive_desc descriptor_;
  memory::desc b_, scratch_;
  dnnl::matmul product_;
  const char* implementation_;
  ProductShape shape_;
  mutable std::atomic<bool> ran_{false};
};

struct Cache {
  std::mutex mutex;
  std::map<ProductShape, std::shared_ptr<const Product>> products;
};

Cache& TheCache() {
  static Cache cache;
  return cache;
}

std::atomic<idx_t> products_made{0};

}  // namespace

std::shared_ptr<const Product> FindProduct(const ProductShape& shape) {
  // Inputs of ever new lengths must not fill the memory. A training repeats a few dozen shapes.
  constexpr std::size_t kMost = 4096;
  Cache& cache = TheCache();
  const std::lock_guard lock(cache.mutex);
  const auto found = cache.products.find(shape);
  if (found != cache.products.end()) return found->second;
  if (cache.products.size() >= kMost) cache.products.clear();
  Engine();  // takes the lock for itself
  const auto code = LockForCode([&] { return ProductText(shape); });
  try {
    const OneThread guard;
    std::shared_ptr<const Product> product = std::make_shared<LibraryProduct>(shape);
    cache.products.emplace(shape, product);
    products_made.fetch_add(1, std::memory_order_relaxed);
    return product;
  } catch (const dnnl::error& error) {
    FailRefused(ProductText(shape), error);
  }
}

idx_t ProductsMade() { return products_made.load(std::memory_order_relaxed); }

Isa LibraryIsa() {
  Engine();
  const auto effective = dnnl::get_effective_cpu_isa();
  Isa isa = Isa::kPortable;
  for (const Isa candidate : {Isa::kSse4, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    // The values are sets of feature bits.
    const auto bits = static_cast<unsigned>(LibraryName(candidate));
    if ((static_cast<unsigned>(effective) & bits) == bits) isa = candidate;
  }
  return isa;
}

}  // namespace longspan::gemm
