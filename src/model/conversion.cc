#include "model/conversion.h"

#include "model/model_folder.h"

namespace longspan {

std::string CopyBeside(const std::filesystem::path& in, const std::vector<std::string>& except,
                       const std::filesystem::path& out, ConvertReport* report) {
  report->copied = CopyCompanions(in, out, except);
  return LinksLeftOut(in, except);
}

}  // namespace longspan
