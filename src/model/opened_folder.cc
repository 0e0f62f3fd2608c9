#include "model/opened_folder.h"

#include "base/errors.h"
#include "longspan/files.h"

namespace longspan {

std::string ModelFolder::source() const { return io::Escape(config_file.native(), 4096); }

void ModelFolder::Require(std::string_view wanted_type, std::string_view title) const {
  Check(type == wanted_type, ErrorCode::kFormat,
        "{}: is {}; this needs a {}, but its model_type is {}",
        io::Escape(directory.native(), 4096), what, title, type);
}

}  // namespace longspan
