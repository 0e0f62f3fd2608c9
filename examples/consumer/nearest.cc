// Finds the rows of a file that mean most nearly what a question says. Rows are JSON lines (or a
// table) with "id" and "text"; a row that cannot be used is reported and left out.
//   nearest MODEL rows.jsonl "a question"
#include <cstdio>
#include <string>
#include <vector>

#include "longspan/longspan.h"

namespace {

void FindNearest(const std::string& model, const std::string& file, const std::string& question) {
  longspan::Context context;
  const longspan::Embedder embedder = longspan::Embedder::Load(model);
  longspan::TextRules rules;
  rules.fields = {{.name = "id"}, {.name = "text", .required = true}};
  longspan::TextSource source({file}, {}, rules);

  std::vector<std::string> ids, texts;
  for (auto rows = source.NextChunk(); !rows.empty(); rows = source.NextChunk()) {
    for (longspan::TextRow& row : rows) {
      longspan::UseRow(
          row,
          [&](longspan::TextRow& good) {
            texts.push_back(good.Text("text"));
            ids.push_back(good.Shown("id"));
          },
          [](const longspan::TextRow&, const longspan::Error& why) {
            std::fprintf(stderr, "left out: %s\n", why.what());
          });
    }
  }
  const longspan::Tensor vectors = embedder.Embed(context, texts);  // (texts, width)
  const longspan::Tensor query = embedder.EmbedOne(context, question);
  for (const longspan::Neighbour& near : longspan::Nearest(query, vectors, 10)) {
    const auto row = static_cast<std::size_t>(near.row);
    std::printf("%.4f  %s  %s\n", near.cosine, ids[row].c_str(), texts[row].c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: nearest MODEL rows.jsonl QUESTION\n");
    return 2;
  }
  try {
    FindNearest(argv[1], argv[2], argv[3]);
    return 0;
  } catch (const longspan::Error& error) {
    std::fprintf(stderr, "nearest: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
