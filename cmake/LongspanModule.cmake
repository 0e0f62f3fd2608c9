# longspan_module(name SOURCES ... [DEPS module ...] [LIBS target ...] [TOGETHER] [LAB])
#   One folder = one module = one static library longspan_<name>; the installed library is made of
#   their objects. DEPS are modules of this project, LIBS are packages.
#   LAB: it is no part of the installed library.
#   TOGETHER: its sources are compiled as few large files (longspan_compile_together).
# longspan_compile_together(target)
#   Most of the time that a file outside the kernels costs goes into the headers that all of them
#   share (JSON, CLI11, fmt). Compiled together they pay once: the program builds in less than half
#   the time. The price: two sources of a target may not use one name for two things, not even in
#   unnamed namespaces. -DLONGSPAN_TOGETHER=OFF compiles each source alone, as clang-tidy does.
# longspan_precompile(target kind)
#   The headers that most files begin with (the standard library's, fmt's, and what `kind` adds) are
#   compiled once for all targets of that kind. These must have the same flags: GCC 12 crashes on a
#   precompiled header of another -O. Kinds: library, commands, tests, model_tests, kernel_tests.
# longspan_test(name SOURCES ... DEPS module ... [ISAS | AVX2] [PORTABLE] [TWIN] [SLOW]
#               [LOOPS] [FIRST] [TIMEOUT seconds])
#   A GoogleTest program, compiled together. A module has one, or two if some of its tests are
#   ISAS: most of what tests cost a compiler are GoogleTest's headers, and linking. With ISAS
#   NAME.isas runs it once for every instruction set that the machine has beside its best, forced,
#   one process after another (tests/support/test_main.cc). AVX2: for AVX2 alone. That is for what
#   has no vector code of its own, but calls kernels with a test of theirs, which choose other sizes
#   of blocks below AVX-512. PORTABLE: for plain C++ alone, because its kernels have one form beside
#   it. TWIN: also on the tile unit's twin. LOOPS: its own loops run so long that optimising them
#   pays. FIRST: it is among the longest, and is started before the others, so that nothing waits for
#   it alone at the end.
# longspan_bench(name SOURCES ... DEPS module ...)
#   A Google Benchmark program that verifies, then times. Never run by the tests for its times.
#   benchmarks.txt in the build folder lists them all: ./dev bench runs that list.
# longspan_fuzz(name SOURCES ... CORPUS folder DEPS module ...)
#   A libFuzzer target (LLVMFuzzerTestOneInput, in the first source). In an ordinary build it becomes
#   a test instead, which feeds it every file of its committed corpus: all targets are one program,
#   fuzz_replay. fuzzers.txt lists the targets for ./dev fuzz.

set_property(GLOBAL PROPERTY LONGSPAN_MODULES "")
set_property(GLOBAL PROPERTY LONGSPAN_BENCHES "")
set_property(GLOBAL PROPERTY LONGSPAN_FUZZERS "")

add_library(longspan_options INTERFACE)
target_compile_options(longspan_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor
  # GCC 12 sees overlaps in every "text" + std::string (its bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  $<$<BOOL:${LONGSPAN_WERROR}>:-Werror>
  # Fused multiply-adds are written where they are meant: the same bits from every compiler.
  -ffp-contract=off -fno-math-errno)
# Kernels are compiled for portable (one lane, plain C++), SSE4, AVX2 and AVX-512.
target_compile_definitions(longspan_options INTERFACE HWY_DISABLED_TARGETS=HWY_SSSE3)
target_include_directories(longspan_options INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)

function(longspan_compile_together target)
  if(LONGSPAN_TOGETHER)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 14)
  endif()
endfunction()

# Precompiled headers hide a missing include from nobody: clang-tidy and builds with ccache, which
# does better without them, compile each file with its own.
if(NOT LONGSPAN_TOGETHER OR CMAKE_CXX_COMPILER_LAUNCHER MATCHES ccache OR
   NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
endif()

function(longspan_precompile target kind)
  set(holder longspan_precompiled_${kind})
  if(NOT TARGET ${holder})
    set(headers <algorithm> <array> <cmath> <cstdint> <filesystem> <functional> <map> <memory>
      <numeric> <optional> <set> <span> <string> <string_view> <utility> <vector> <fmt/format.h>
      <nlohmann/json.hpp>)
    set(source ${PROJECT_SOURCE_DIR}/cmake/precompiled.cc)
    if(kind MATCHES tests)
      list(APPEND headers <gmock/gmock.h> <gtest/gtest.h>)
      add_executable(${holder} EXCLUDE_FROM_ALL ${source})
      target_link_libraries(${holder} PRIVATE GTest::gtest GTest::gmock)
    else()
      add_library(${holder} OBJECT EXCLUDE_FROM_ALL ${source})
    endif()
    if(kind STREQUAL "commands")
      list(APPEND headers <CLI/CLI.hpp>)
      target_link_libraries(${holder} PRIVATE CLI11::CLI11)
    endif()
    target_link_libraries(${holder} PRIVATE longspan_options OpenMP::OpenMP_CXX fmt::fmt
      nlohmann_json::nlohmann_json)
    longspan_optimise(${holder} ${kind})
    target_precompile_headers(${holder} PRIVATE ${headers})
  endif()
  target_precompile_headers(${target} REUSE_FROM ${holder})
endfunction()

# What is no kernel is compiled with less optimisation where that costs nothing:
# - commands parse options and print, and draw;
# - GoogleTest's macros cost a compiler more than a test gains from any optimisation, unless it runs
#   references in plain loops: once for each instruction set (kernel_tests), or twice (model_tests);
# - in a build for tests, modules that call kernels.
function(longspan_optimise target kind)
  if(kind STREQUAL "commands")
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release,RelWithDebInfo>:-O1>)
  elseif(kind STREQUAL "tests")
    target_compile_options(${target} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O0>)
  elseif(NOT kind STREQUAL "kernel_tests")
    target_compile_options(${target} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
  endif()
endfunction()

function(longspan_module name)
  cmake_parse_arguments(ARG "TOGETHER;LAB" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_library(longspan_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(longspan_${name} PUBLIC longspan_options OpenMP::OpenMP_CXX fmt::fmt)
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(longspan_${name} PUBLIC longspan_${dep})
  endforeach()
  target_link_libraries(longspan_${name} PUBLIC ${ARG_LIBS})
  if(ARG_TOGETHER)
    longspan_compile_together(longspan_${name})
    longspan_optimise(longspan_${name} library)
    longspan_precompile(longspan_${name} library)
  endif()
  if(NOT ARG_LAB)
    set_property(GLOBAL APPEND PROPERTY LONGSPAN_MODULES longspan_${name})
  endif()
endfunction()

function(longspan_test name)
  if(NOT LONGSPAN_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "ISAS;AVX2;PORTABLE;TWIN;SLOW;LOOPS;FIRST" "TIMEOUT" "SOURCES;DEPS;LIBS"
    ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE longspan_test_support ${ARG_LIBS})
  longspan_compile_together(${name})
  if(ARG_ISAS)
    set(kind kernel_tests)
  elseif(ARG_AVX2)
    set(kind model_tests)
  else()
    set(kind tests)
  endif()
  if(ARG_LOOPS)  # precompiled headers of its flags would serve nobody else
    longspan_optimise(${name} library)
  else()
    longspan_optimise(${name} ${kind})
    longspan_precompile(${name} ${kind})
  endif()
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(${name} PRIVATE longspan_${dep})
  endforeach()
  add_test(NAME ${name} COMMAND ${name})
  if(ARG_ISAS OR ARG_AVX2)
    set(isas portable sse4 avx2 avx512 avx512_bf16 amx)
    if(ARG_PORTABLE)
      set(isas portable)
    elseif(ARG_AVX2)
      set(isas avx2)
    endif()
    if(ARG_TWIN)
      list(APPEND isas amx_twin)
    endif()
    list(LENGTH isas runs)
    math(EXPR timeout "${ARG_TIMEOUT} * ${runs}")
    list(JOIN isas "," isas)
    add_test(NAME ${name}.isas COMMAND ${name})
    set_tests_properties(${name}.isas PROPERTIES
      ENVIRONMENT "LONGSPAN_TEST_ISA=${isas}," LABELS isa SKIP_RETURN_CODE 77 TIMEOUT ${timeout}
      COST 50)  # before most others, which take less
  endif()
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${ARG_TIMEOUT})
  if(ARG_FIRST)
    set_tests_properties(${name} PROPERTIES COST 100)
  endif()
  if(ARG_SLOW)
    set_tests_properties(${name} PROPERTIES LABELS slow)
  endif()
endfunction()

function(longspan_bench name)
  if(NOT LONGSPAN_BENCH)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE longspan_bench_support benchmark::benchmark ${ARG_LIBS})
  foreach(dep IN LISTS ARG_DEPS)
    target_link_libraries(${name} PRIVATE longspan_${dep})
  endforeach()
  longspan_optimise(${name} tests)  # what is timed is a release build: ./dev bench
  set_property(GLOBAL APPEND PROPERTY LONGSPAN_BENCHES ${name})
endfunction()

function(longspan_fuzz name)
  if(NOT LONGSPAN_FUZZ AND NOT LONGSPAN_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;DEPS" ${ARGN})
  cmake_path(ABSOLUTE_PATH ARG_CORPUS)
  list(TRANSFORM ARG_DEPS PREPEND longspan_)
  if(LONGSPAN_FUZZ)
    add_executable(${name} ${ARG_SOURCES})
  elseif(NOT LONGSPAN_TOGETHER)
    add_library(${name} OBJECT ${ARG_SOURCES})  # clang-tidy wants to know how each is compiled
  endif()
  if(TARGET ${name})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
    target_compile_definitions(${name} PRIVATE LONGSPAN_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    target_link_libraries(${name} PRIVATE longspan_options ${ARG_DEPS})
  endif()
  if(LONGSPAN_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set_property(GLOBAL APPEND PROPERTY LONGSPAN_FUZZERS
      "${name} $<TARGET_FILE:${name}> ${ARG_CORPUS}")
    return()
  endif()
  list(POP_FRONT ARG_SOURCES source)
  cmake_path(ABSOLUTE_PATH source)
  list(TRANSFORM ARG_SOURCES REPLACE "^([^/])" "${CMAKE_CURRENT_SOURCE_DIR}/\\1")
  string(CONCAT code "#define LLVMFuzzerTestOneInput Replay_${name}\n#include \"${source}\"\n"
    "#undef LLVMFuzzerTestOneInput\n")
  set_property(GLOBAL APPEND_STRING PROPERTY LONGSPAN_REPLAYED_CODE "${code}")
  set_property(GLOBAL APPEND_STRING PROPERTY LONGSPAN_REPLAYED_ROWS
    "    {\"${name}\", Replay_${name}},\n")
  set_property(GLOBAL APPEND PROPERTY LONGSPAN_REPLAYED_SOURCES ${ARG_SOURCES})
  set_property(GLOBAL APPEND PROPERTY LONGSPAN_REPLAYED_DEPS ${ARG_DEPS})
  add_test(NAME ${name}.corpus COMMAND fuzz_replay ${name} ${ARG_CORPUS})
  set_tests_properties(${name}.corpus PROPERTIES TIMEOUT 300 LABELS corpus)
endfunction()

# One program replays the inputs of all targets, whose sources are one file for the compiler: each
# alone spends most of its time on the same headers. They may not use one name for two things.
function(longspan_fuzz_replay)
  get_property(code GLOBAL PROPERTY LONGSPAN_REPLAYED_CODE)
  if(NOT code)
    return()
  endif()
  get_property(rows GLOBAL PROPERTY LONGSPAN_REPLAYED_ROWS)
  get_property(sources GLOBAL PROPERTY LONGSPAN_REPLAYED_SOURCES)
  get_property(deps GLOBAL PROPERTY LONGSPAN_REPLAYED_DEPS)
  list(REMOVE_DUPLICATES deps)
  set(file ${PROJECT_BINARY_DIR}/tests/fuzz/fuzz_replay.cc)
  file(CONFIGURE OUTPUT ${file} @ONLY CONTENT
    "@code@#include \"cmake/fuzz_replay_main.h\"\n
int main(int count, char** arguments) {
  return longspan::fuzz::Replay(count, arguments, {\n@rows@  });\n}\n")
  add_executable(fuzz_replay ${file} ${sources})
  set_target_properties(fuzz_replay PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/fuzz)
  target_include_directories(fuzz_replay PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(fuzz_replay PRIVATE LONGSPAN_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(fuzz_replay PRIVATE longspan_options ${deps})
  longspan_optimise(fuzz_replay tests)
endfunction()

# Called once, when every folder has been added.
function(longspan_write_lists)
  get_property(benches GLOBAL PROPERTY LONGSPAN_BENCHES)
  set(lines "")
  foreach(bench IN LISTS benches)
    string(APPEND lines "$<TARGET_FILE:${bench}>\n")
  endforeach()
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/benchmarks.txt CONTENT "${lines}")
  get_property(fuzzers GLOBAL PROPERTY LONGSPAN_FUZZERS)
  list(JOIN fuzzers "\n" lines)
  if(lines)
    string(APPEND lines "\n")
  endif()
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/fuzzers.txt CONTENT "${lines}")
  longspan_fuzz_replay()
  add_custom_target(fuzzers)
  if(LONGSPAN_FUZZ)
    foreach(fuzzer IN LISTS fuzzers)
      string(REGEX REPLACE " .*" "" target "${fuzzer}")
      add_dependencies(fuzzers ${target})
    endforeach()
  endif()
endfunction()
