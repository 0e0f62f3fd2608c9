# The installed library, made of every module's objects: longspan::longspan, a static archive, and
# longspan::shared, a shared library that shows the names of the headers alone; the headers of
# include/longspan/, a CMake package and a pkg-config file. Components: `library` and `program`.

get_property(modules GLOBAL PROPERTY LONGSPAN_MODULES)
add_library(longspan_library STATIC)
add_library(longspan::longspan ALIAS longspan_library)
set_target_properties(longspan_library PROPERTIES
  OUTPUT_NAME longspan EXPORT_NAME longspan LINKER_LANGUAGE CXX
  ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
target_compile_features(longspan_library PUBLIC cxx_std_20)
target_include_directories(longspan_library PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)

# Programs that were linked with 0.2.x run with any other 0.2.x: docs/reference/versioning.md.
add_library(longspan_shared SHARED)
add_library(longspan::shared ALIAS longspan_shared)
set_target_properties(longspan_shared PROPERTIES
  OUTPUT_NAME longspan EXPORT_NAME shared LINKER_LANGUAGE CXX
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
  LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/longspan.map)
target_compile_features(longspan_shared PUBLIC cxx_std_20)
target_include_directories(longspan_shared PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
# The map hides what the templates of other libraries leave behind.
target_link_options(longspan_shared PRIVATE
  -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/longspan.map)

# What the modules link; each package also needs its line in the table below.
set(packages "")
foreach(module IN LISTS modules)
  get_target_property(type ${module} TYPE)
  if(NOT type STREQUAL INTERFACE_LIBRARY)
    target_sources(longspan_library PRIVATE $<TARGET_OBJECTS:${module}>)
    target_sources(longspan_shared PRIVATE $<TARGET_OBJECTS:${module}>)
    get_target_property(links ${module} LINK_LIBRARIES)
  else()
    get_target_property(links ${module} INTERFACE_LINK_LIBRARIES)
  endif()
  list(APPEND packages ${links})
endforeach()
list(REMOVE_DUPLICATES packages)
# Libraries without a CMake package are linked by their path here and by their name elsewhere.
set(plain ${packages})
list(FILTER plain INCLUDE REGEX "^/.*/lib[^/]*$")
list(FILTER packages INCLUDE REGEX ::)

# target | how a consumer finds it | pkg-config: its own module, or - and the linker's words.
set(known
  "OpenMP::OpenMP_CXX|OpenMP COMPONENTS CXX|-|${OpenMP_CXX_FLAGS}"
  "Threads::Threads|Threads|-|-pthread"
  "fmt::fmt|fmt|fmt|"
  "hwy::hwy|hwy|libhwy|"
  "DNNL::dnnl|dnnl|-|-ldnnl"
  "dnnl::dnnl|dnnl|-|-ldnnl"
  "nlohmann_json::nlohmann_json||-|"  # headers only, and not in ours
  "ZLIB::ZLIB|ZLIB|zlib|"
  "PNG::PNG|PNG|libpng|"
  "sentencepiece::sentencepiece||sentencepiece|-lsentencepiece")
set(LONGSPAN_FIND_DEPENDENCIES "")
set(LONGSPAN_PC_REQUIRES "")
set(LONGSPAN_PC_LIBS "")
foreach(package IN LISTS packages)
  set(entry ${known})
  list(FILTER entry INCLUDE REGEX "^${package}\\|")
  if(entry STREQUAL "")
    message(FATAL_ERROR "cmake/LongspanPackage.cmake: say how a consumer finds ${package}")
  endif()
  string(REGEX MATCH "^[^|]*\\|([^|]*)\\|([^|]*)\\|(.*)$" unused "${entry}")
  if(CMAKE_MATCH_1)
    string(APPEND LONGSPAN_FIND_DEPENDENCIES "find_dependency(${CMAKE_MATCH_1})\n  ")
    target_link_libraries(longspan_library PRIVATE ${package})
    target_link_libraries(longspan_shared PRIVATE ${package})
  endif()
  if(NOT CMAKE_MATCH_2 STREQUAL -)
    string(APPEND LONGSPAN_PC_REQUIRES " ${CMAKE_MATCH_2}")
  else()
    string(APPEND LONGSPAN_PC_LIBS " ${CMAKE_MATCH_3}")
  endif()
endforeach()

foreach(library IN LISTS plain)
  string(REGEX REPLACE "^.*/lib([^/.]*)\\.[^/]*$" "\\1" name "${library}")
  target_link_libraries(longspan_library PRIVATE ${name})
  target_link_libraries(longspan_shared PRIVATE ${library})
  string(APPEND LONGSPAN_PC_LIBS " -l${name}")
endforeach()

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/longspan)
configure_package_config_file(cmake/longspan-config.cmake.in longspan-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(longspan-config-version.cmake COMPATIBILITY SameMinorVersion)
# Relative to the file itself: the installed folder may be moved.
file(RELATIVE_PATH pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file(cmake/longspan.pc.in longspan.pc @ONLY)

install(TARGETS longspan_library EXPORT longspan
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(EXPORT longspan NAMESPACE longspan:: FILE longspan-targets.cmake
  DESTINATION ${package_dir} COMPONENT library)
# An export of its own: who links the shared library needs none of the packages below it.
install(TARGETS longspan_shared EXPORT longspan-shared
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library NAMELINK_COMPONENT library)
install(EXPORT longspan-shared NAMESPACE longspan:: FILE longspan-shared-targets.cmake
  DESTINATION ${package_dir} COMPONENT library)
install(DIRECTORY include/longspan DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(FILES
  ${PROJECT_BINARY_DIR}/longspan-config.cmake ${PROJECT_BINARY_DIR}/longspan-config-version.cmake
  DESTINATION ${package_dir} COMPONENT library)
install(DIRECTORY examples/consumer/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT library)
install(DIRECTORY docs/guide docs/reference DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT library)
# ./dev docs makes the pages; where they were made they are installed too.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/build/docs/html DESTINATION ${CMAKE_INSTALL_DOCDIR}
  COMPONENT library OPTIONAL)
install(FILES ${PROJECT_BINARY_DIR}/longspan.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)
install(FILES LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT library)
