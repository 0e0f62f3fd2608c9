// The files beside the weights in a model's folder: tokenizer, pooling, licence.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

namespace longspan {

// Copies every regular file of `from` that holds no weights, is no archive and has at most
// limits::kMostTokenizerBytes, and the folders that modules.json of sentence-transformers names
// with all their files; hidden files stay behind, and so do the names in `except`. Returns what was
// copied. kFormat when modules.json names a folder that is no plain
// name. Of a folder around a transformer's (io/transformer_folder.h) the inner files come to the
// top, and modules.json says so.
//
// A folder that somebody else made may hold links to files that are none of its business, and what
// is copied may be shared: a link is followed only where io::ResolveInside lets it, to the folder's
// own files and a hub cache's blobs. The others stay behind (LinksLeftOut); with a policy of
// strict_paths they are kFormat.
std::vector<std::string> CopyCompanions(const std::filesystem::path& from,
                                        const std::filesystem::path& to,
                                        const std::vector<std::string>& except = {});

// Copies the files of sentence-transformers alone: modules.json, the settings of vectors and of the
// transformer, and the files of the modules' folders whose names are plain. Links, and a
// transformer in a folder of its own, as in CopyCompanions.
void CopySentenceFiles(const std::filesystem::path& from, const std::filesystem::path& to);

// The files of `folder` that a tokenizer is made of, in the Hugging Face layout: small, and what
// makes weights usable by themselves. Names only, and none of a link that leads out.
std::vector<std::string> TokenizerFiles(const std::filesystem::path& folder);
// Copies them, links as CopyCompanions does. kIo.
void CopyTokenizer(const std::filesystem::path& from, const std::filesystem::path& to);

// Returns one line about the links in `folder` that CopyCompanions does not copy, or nothing. The
// same for CopyTokenizer.
std::string LinksLeftOut(const std::filesystem::path& folder,
                         const std::vector<std::string>& except = {});
std::string TokenizerLinksLeftOut(const std::filesystem::path& folder);
// Returns one line about the files in `folder` that CopyCompanions does not copy because of what
// they are, or nothing. The weights that a model is read from are not named, nor `except`.
std::string FilesLeftOut(const std::filesystem::path& folder,
                         const std::vector<std::string>& except = {});

// Tells the files in `folder` that read texts how long one may be: model_max_length in
// tokenizer_config.json (written when a vocabulary is there without it; `tokenizer_class` is
// added where it is missing), max_seq_length in sentence_bert_config.json or its older forms
// (sentence_config.h), here and in the folders of modules.json. An empty `tokenizer_class`: the
// folder has a tokenizer, perhaps one of bytes, so the file is written in any case, without a
// class.
void SetLongestText(const std::filesystem::path& folder, idx_t tokens,
                    std::string_view tokenizer_class);

// The id of a token in vocab.txt or tokenizer.json; -1 when neither says.
idx_t TokenId(const std::filesystem::path& folder, std::string_view token);

}  // namespace longspan
