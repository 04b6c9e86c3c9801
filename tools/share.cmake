# Manual pages and completions of one tool, as it prints them from its table of options.
# usage: cmake -DTOOL=PATH -DNAME=kvrun -DSHARE=DIR [-DEMULATOR=COMMAND] -P share.cmake
function(print words file)
  get_filename_component(folder ${file} DIRECTORY)
  file(MAKE_DIRECTORY ${folder})
  execute_process(COMMAND ${EMULATOR} ${TOOL} ${words} OUTPUT_FILE ${file} RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${TOOL} ${words}: ${failed}")
  endif()
endfunction()

file(GLOB old ${SHARE}/man/man1/${NAME}.1 ${SHARE}/man/man1/${NAME}-*.1)
if(old)
  file(REMOVE ${old})
endif()
print(--print-man ${SHARE}/man/man1/${NAME}.1)
print("--print-completion;bash" ${SHARE}/bash-completion/completions/${NAME})
print("--print-completion;zsh" ${SHARE}/zsh/site-functions/_${NAME})
print("--print-completion;fish" ${SHARE}/fish/vendor_completions.d/${NAME}.fish)
execute_process(COMMAND ${EMULATOR} ${TOOL} --print-commands OUTPUT_VARIABLE commands ERROR_QUIET) # fails where there are none
string(REGEX MATCHALL "[a-z]+" commands "${commands}")
foreach(command ${commands})
  print("${command};--print-man" ${SHARE}/man/man1/${NAME}-${command}.1)
endforeach()
