# Read by CPack once for each kind of package.
if(CPACK_GENERATOR STREQUAL DEB)
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_COMPONENTS_ALL ${CPACK_LONGSPAN_COMPONENTS})
  set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY OFF)  # /usr, and not a folder that holds it
  # CPack's own search (CPACK_DEBIAN_PACKAGE_SHLIBDEPS) asks every file of the package. What the
  # program links is what the package needs: Open MPI, which the module links, is recommended only.
  set(scratch ${CPACK_PACKAGE_DIRECTORY}/_CPack_Packages/depends)
  file(MAKE_DIRECTORY ${scratch}/debian)
  file(WRITE ${scratch}/debian/control "")
  execute_process(COMMAND dpkg-shlibdeps --ignore-missing-info -O ${CPACK_LONGSPAN_PROGRAM}
    WORKING_DIRECTORY ${scratch} RESULT_VARIABLE failed OUTPUT_VARIABLE found ERROR_VARIABLE errors
    OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(failed)
    message(FATAL_ERROR "dpkg-shlibdeps ${CPACK_LONGSPAN_PROGRAM}: ${failed} ${errors}")
  endif()
  string(REGEX REPLACE "^.*Depends=" "" CPACK_DEBIAN_PACKAGE_DEPENDS "${found}")
else()
  set(CPACK_COMPONENTS_ALL ${CPACK_LONGSPAN_COMPONENTS} libraries)
endif()
