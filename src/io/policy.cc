#include "io/policy.h"

#include <algorithm>
#include <mutex>
#include <set>

namespace longspan::io {
namespace {

namespace fs = std::filesystem;

struct State {
  Policy policy;
  std::mutex mutex;  // of the folders
  std::set<fs::path> folders;
};

State& Shared() {
  static State state;
  return state;
}

// "a/./b/" and "a/b" are one folder; links are not resolved, for they are what is asked about.
fs::path Spelled(const fs::path& path) {
  const fs::path normal = path.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

}  // namespace

void SetPolicy(const Policy& policy) { Shared().policy = policy; }
const Policy& GetPolicy() { return Shared().policy; }

void Confine(const fs::path& folder) {
  State& state = Shared();
  if (!state.policy.strict_paths) return;
  const std::lock_guard lock(state.mutex);
  state.folders.insert(Spelled(folder));
}

fs::path ConfinedFolderOf(const fs::path& path) {
  State& state = Shared();
  if (!state.policy.strict_paths) return {};
  const fs::path spelled = Spelled(path);
  const std::lock_guard lock(state.mutex);
  fs::path innermost;
  for (const fs::path& folder : state.folders) {
    const auto [end, rest] =
        std::mismatch(folder.begin(), folder.end(), spelled.begin(), spelled.end());
    const bool below = (end == folder.end() && rest != spelled.end()) ||
                       (folder == "." && spelled.is_relative() && *spelled.begin() != "..");
    if (below && innermost.native().size() <= folder.native().size()) innermost = folder;
  }
  return innermost;
}

}  // namespace longspan::io
