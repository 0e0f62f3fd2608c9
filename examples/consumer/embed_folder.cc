// Embeds every text of a folder into a NumPy file: a row of vectors.npy for each file, in the order
// of their names, which stand on standard output.
//   embed_folder MODEL FOLDER vectors.npy
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/data.h"
#include "longspan/error.h"
#include "longspan/files.h"
#include "longspan/tasks.h"

namespace {

// The head of a .npy file of fp32 values (rows, width): 128 bytes, padded with blanks.
std::string NpyHead(std::size_t rows, longspan::idx_t width) {
  std::string head = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) +
                     ", " + std::to_string(width) + "), }";
  head.resize(128 - 10 - 1, ' ');
  return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + head + "\n";
}

void EmbedFolder(const std::string& model, const std::string& folder, const std::string& output) {
  longspan::Context context;
  // Beside the model. A call that needs more says so (kLimit) before it takes any of it.
  context.LimitMemory(std::size_t{2} << 30);
  context.OnProgress([](longspan::idx_t done, longspan::idx_t all) {
    std::fprintf(stderr, "\r%d of %d tokens", static_cast<int>(done), static_cast<int>(all));
    if (done == all) std::fprintf(stderr, "\n");
  });
  const longspan::Embedder embedder = longspan::Embedder::Load(model);
  longspan::TextSource source({folder}, {}, {});

  std::vector<float> vectors;
  std::size_t rows = 0;
  // A chunk is some texts that are worth running together: memory grows with it, not with the
  // folder. Whatever is no text says why.
  for (auto chunk = source.NextChunk(); !chunk.empty(); chunk = source.NextChunk()) {
    std::vector<std::string> texts;
    for (const longspan::TextRow& row : chunk) {
      if (row.refused) throw *row.refused;
      std::printf("%s\n", row.name.c_str());
      texts.push_back(row.text);
    }
    const longspan::Tensor some = embedder.Embed(context, texts);  // (texts, width)
    vectors.insert(vectors.end(), some.data<float>(), some.data<float>() + some.size());
    rows += texts.size();
  }

  // The file appears whole or not at all.
  longspan::io::AtomicFile file(output);
  file.Write(NpyHead(rows, embedder.width()));
  file.Write(vectors.data(), vectors.size() * sizeof(float));
  file.Commit();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: embed_folder MODEL FOLDER vectors.npy\n");
    return 2;
  }
  try {
    EmbedFolder(argv[1], argv[2], argv[3]);
    return 0;
  } catch (const longspan::Error& error) {
    std::fprintf(stderr, "embed_folder: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
