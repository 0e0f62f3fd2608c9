# The program as a package: a .deb that uses Debian's libraries, and a .tar.gz that runs from any
# folder because it brings all but libc, libstdc++ and libgomp along. ./dev package makes both.
# Components: `program` and `mpi` (both), `libraries` (.tar.gz only). `mpi` is the module that is loaded
# under mpirun; a machine without MPI does without it, so no package depends on Open MPI.

install(FILES data/persuasion.txt  # what the demo reads
  DESTINATION ${CMAKE_INSTALL_DATADIR}/longspan COMPONENT program)
install(FILES LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)

# Libraries beside the program are found wherever the folder lies. The older kind of search path is
# asked for: it holds also for what the libraries themselves need (oneDNN wants OpenCL's loader).
set(private_libraries ${CMAKE_INSTALL_LIBDIR}/longspan)
file(RELATIVE_PATH to_libraries /${CMAKE_INSTALL_BINDIR} /${private_libraries})
set_target_properties(longspan_program PROPERTIES INSTALL_RPATH "$ORIGIN/${to_libraries}")
target_link_options(longspan_program PRIVATE -Wl,--disable-new-dtags)
install(TARGETS longspan_program RUNTIME_DEPENDENCY_SET program_libraries
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
install(RUNTIME_DEPENDENCY_SET program_libraries
  PRE_EXCLUDE_REGEXES "^lib(c|m|dl|rt|pthread|stdc\\+\\+|gcc_s|gomp)\\.so" "^ld-linux"
  LIBRARY DESTINATION ${private_libraries} COMPONENT libraries EXCLUDE_FROM_ALL)

set(CPACK_PACKAGE_NAME longspan)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_CONTACT "longspan developers")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# Pictures as SVG and PNG need the first two, mpirun the third; all else works without.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libcairo2, fonts-dejavu-core")
set(CPACK_LONGSPAN_COMPONENTS program)
if(TARGET longspan_mpi)
  string(APPEND CPACK_DEBIAN_PACKAGE_RECOMMENDS ", openmpi-bin")
  list(APPEND CPACK_LONGSPAN_COMPONENTS mpi)
endif()
set(CPACK_LONGSPAN_PROGRAM ${PROJECT_BINARY_DIR}/longspan)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_SOURCE_DIR}/cmake/LongspanPackageKinds.cmake)
include(CPack)
