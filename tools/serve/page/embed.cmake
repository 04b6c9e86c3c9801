# One page of its parts, as C: cmake -DOUT=FILE.c "-DSCRIPTS=a.js,b.js" -P embed.cmake
# The policy that is sent with it allows this very style and this very script, by their sums, and nothing else.
set(here ${CMAKE_CURRENT_LIST_DIR})
string(REPLACE "," ";" scripts "${SCRIPTS}")

# A sum as such policies have it: base64 of SHA-256. 32 bytes and two bits of nothing are 43 letters.
function(sum_of text out)
  set(letters ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/)
  string(SHA256 hex "${text}")
  set(sum "")
  string(APPEND hex "00")
  foreach(i RANGE 21)
    math(EXPR at "3 * ${i}")
    string(SUBSTRING ${hex} ${at} 3 three)
    foreach(shift 6 0)
      math(EXPR letter "(0x${three} >> ${shift}) & 63")
      string(SUBSTRING ${letters} ${letter} 1 letter)
      string(APPEND sum ${letter})
    endforeach()
  endforeach()
  string(SUBSTRING ${sum} 0 43 sum)
  set(${out} "sha256-${sum}=" PARENT_SCOPE)
endfunction()

function(bytes_of file out)
  file(READ ${file} hex HEX)
  if(file MATCHES "gz$") # when it was made is none of the page's business
    string(SUBSTRING ${hex} 16 -1 rest)
    string(SUBSTRING ${hex} 0 8 hex)
    string(APPEND hex 00000000 ${rest})
  endif()
  string(REGEX REPLACE "(..)" "0x\\1," bytes ${hex})
  string(REGEX REPLACE "((0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,))" "\\1\n" bytes ${bytes})
  set(${out} "${bytes}" PARENT_SCOPE)
endfunction()

file(READ ${here}/page.html page)
file(READ ${here}/page.css style)
set(script "\"use strict\";\n")
foreach(name ${scripts})
  file(READ ${here}/${name} one)
  string(APPEND script "${one}")
endforeach()
foreach(text style script)
  if("${${text}}" MATCHES "</s|<!--")
    message(FATAL_ERROR "the ${text} of the page has a mark in it that would end it in HTML")
  endif()
endforeach()
string(REPLACE "@STYLE@" "${style}" page "${page}")
string(REPLACE "@SCRIPT@" "${script}" page "${page}")
sum_of("${style}" style_sum)
sum_of("${script}" script_sum)
set(policy "default-src 'none'; script-src '${script_sum}'; style-src '${style_sum}'; connect-src 'self'; img-src data:; base-uri 'none'; \
form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'")

get_filename_component(folder ${OUT} DIRECTORY)
file(WRITE ${folder}/page.whole.html "${page}")
file(ARCHIVE_CREATE OUTPUT ${folder}/page.html.gz PATHS ${folder}/page.whole.html FORMAT raw COMPRESSION GZip)
bytes_of(${folder}/page.whole.html plain)
bytes_of(${folder}/page.html.gz gzip)
string(SHA256 etag "${page}")
string(SUBSTRING ${etag} 0 16 etag)

set(headers "\"Content-Security-Policy\", \"${policy}\", \"Referrer-Policy\", \"no-referrer\", \"Cache-Control\", \"no-cache\",
    \"Vary\", \"Accept, Accept-Encoding\", \"Cross-Origin-Opener-Policy\", \"same-origin\"")
file(WRITE ${OUT} "/* Made by page/embed.cmake. */
#include \"serve/page.h\"

static const unsigned char plain[] = {\n${plain}\n};
static const unsigned char gzip[] = {\n${gzip}\n};
static const char *const plain_headers[] = {\n    ${headers}, \"ETag\", \"\\\"${etag}\\\"\", NULL};
static const char *const gzip_headers[] = {\n    ${headers}, \"ETag\", \"\\\"${etag}-gzip\\\"\", \"Content-Encoding\", \"gzip\", NULL};
const sv_page page_plain = {plain, sizeof plain, \"\\\"${etag}\\\"\", plain_headers};
const sv_page page_gzip = {gzip, sizeof gzip, \"\\\"${etag}-gzip\\\"\", gzip_headers};
")
