#include "model/conversion.h"

#include <utility>

#include "model/model_folder.h"

namespace longspan {

std::string CopyBeside(const std::filesystem::path& in, const std::vector<std::string>& except,
                       const std::filesystem::path& out, ConvertReport* report) {
  report->copied = CopyCompanions(in, out, except);
  if (std::string files = FilesLeftOut(in, except); !files.empty()) {
    report->warnings.push_back(std::move(files));
  }
  return LinksLeftOut(in, except);
}

}  // namespace longspan
