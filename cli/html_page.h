// What the program's HTML pages have in common: one file that needs nothing else. It works without
// a network, has no script, and is light or dark as the reader's system is.
#pragma once

#include <string>
#include <string_view>

namespace longspan::cli {

// The name, if it ends in .html or .htm; kUsage otherwise.
const std::string& CheckedHtmlName(const std::string& file);

// Everything up to the page's first element. `style` has rules beside the common ones: text in
// columns of 46 rem, headings, tables.
std::string HtmlHead(std::string_view title, std::string_view style);
// Ends the page.
inline constexpr std::string_view kHtmlEnd = "</body>\n</html>\n";

// Text for a page: line breaks and tabs stay, other control characters do not, and nothing in it is
// read as HTML.
std::string HtmlText(std::string_view text);

// A picture inside the page. `alt` says what it shows.
std::string HtmlSvg(std::string_view svg, std::string_view alt);

}  // namespace longspan::cli
