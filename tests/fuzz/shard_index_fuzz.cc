// An index of shards: what is accepted names plain files only and can be written and read again.
#include "io/file_name.h"
#include "io/shard_index.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  fuzz::Accepts([&] {
    const auto index = io::ParseShardIndex(fuzz::AsText(data, bytes), "fuzz");
    for (const auto& [name, shard] : index.shard_of) fuzz::Require(io::IsPlainFileName(shard));
    const bool again = fuzz::Accepts([&] {
      const std::string text = io::ShardIndexText(index.shard_of, 1, 1);
      fuzz::Require(io::ParseShardIndex(text, "again").shard_of == index.shard_of);
    });
    fuzz::Require(again);
  });
  return 0;
}
