#include "cli/html_page.h"

#include <algorithm>
#include <filesystem>

#include "cli/check.h"
#include "cli/visual/text.h"

namespace longspan::cli {
namespace {

constexpr std::string_view kBeforeTitle = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>)";

constexpr std::string_view kCommonStyle = R"(</title>
<style>
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1f2430; --soft: #5b6270; --line: #d5dae1; --card: #f7f8fa;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --ink: #e8eaee; --soft: #a2a9b5; --line: #353b45; --card: #1c2027; }
}
body {
  margin: 0 auto; max-width: 46rem; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.65 Georgia, "Times New Roman", serif;
}
h1, h2, h3, header, table { font-family: system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 3rem 0 .25rem; overflow-wrap: anywhere; }
h3 { font-size: .95rem; margin: 1.5rem 0 .5rem; font-weight: 600; }
header p { color: var(--soft); font-size: .9rem; margin: .25rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; margin-top: .75rem; }
th { text-align: left; color: var(--soft); font-weight: 600; }
td, th { border-bottom: 1px solid var(--line); padding: .35rem .75rem .35rem 0; }
td { vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
)";

constexpr std::string_view kBehindStyle = "</style>\n</head>\n<body>\n";

std::string Base64(std::string_view bytes) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      three = three << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      const bool real = i + k <= bytes.size();
      text += real ? kLetters[three >> (18 - 6 * k) & 63] : '=';
    }
  }
  return text;
}

}  // namespace

const std::string& CheckedHtmlName(const std::string& file) {
  const std::string ending = LowerAscii(std::filesystem::path(file).extension().string());
  Check(ending == ".html" || ending == ".htm", ErrorCode::kUsage,
        "html: '{}' does not end in .html; give the page a name that does", Printable(file));
  return file;
}

std::string HtmlHead(std::string_view title, std::string_view style) {
  return std::string(kBeforeTitle) + HtmlText(title) + std::string(kCommonStyle) +
         std::string(style) + std::string(kBehindStyle);
}

std::string HtmlText(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\r\n\t", i), text.size());
    out += EscapeXml(text.substr(i, end - i));
    if (end == text.size()) break;
    const bool pair = text[end] == '\r' && end + 1 < text.size() && text[end + 1] == '\n';
    if (!pair) out += text[end] == '\t' ? '\t' : '\n';
    i = end + 1;
  }
  return out;
}

std::string HtmlSvg(std::string_view svg, std::string_view alt) {
  return fmt::format("<img src=\"data:image/svg+xml;base64,{}\" alt=\"{}\">\n", Base64(svg),
                     EscapeXml(alt));
}

}  // namespace longspan::cli
