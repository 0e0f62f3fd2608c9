#include "families/convert.h"

#include "base/cancel.h"
#include "base/errors.h"
#include "parallel/team.h"
#include "tasks/sentence_folder.h"

namespace longspan {
namespace {

// As `embed` opens it.
void CheckEmbeds(const std::filesystem::path& folder, idx_t channels) {
  try {
    ReadSentenceFolder(folder, channels);
  } catch (const Cancelled&) {
    throw;
  } catch (const Error& error) {
    throw Error(error.code(), std::string("embed cannot use what was converted: ") + error.what());
  }
}

}  // namespace

ConvertReport ConvertModel(Context& context, const std::filesystem::path& in,
                           const std::filesystem::path& out, const ConvertOptions& options) {
  const CancelScope scope(CancelFlagOf(context));
  ConvertOptions watched = options;
  idx_t done = 0;
  watched.on_tensor = [&] {
    context.CheckCancelled();
    context.TellProgress(done++, 0);
    if (options.on_tensor) options.on_tensor();
  };
  return options.to.empty() ? RewriteModel(in, out, watched, CheckEmbeds)
                            : ConvertTo(options.to, in, out, watched, CheckEmbeds);
}

}  // namespace longspan
