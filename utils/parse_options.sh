# shellcheck shell=bash
# Options of a shell script, by Kaldi's rules. To be sourced, after the defaults:
#
#   help_message="Usage: $0 [--nj 4] [--fetch true|false] <data-dir>"
#   nj=4
#   fetch=true
#   . utils/parse_options.sh
#   data=$1
#
# --some-name VALUE sets the variable some_name, which the script must have set before (empty will do). A variable
# that is true or false takes only these two. --config FILE sources FILE before all other options, so that these win.
# --help and -h show $help_message. Options end at the first other argument; the rest is left in "$@".

__option_error() {
  printf '%s: %s\n' "$0" "$1" >&2
  exit 1
}

# The variable that an option sets, in __variable; false where the script knows no such option.
__option_known() {
  __variable=${1#--}
  __variable=${__variable//-/_}
  case $__variable in
    '' | [0-9]* | __* | *[!ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_]*) return 1 ;;
    config) return 0 ;;
  esac
  [ -n "${!__variable+set}" ]
}

# First pass: --help, and configuration files, which the options of the second pass override.
__expected=option
for __argument in "$@"; do
  case $__expected:$__argument in
    option:--help | option:-h)
      if [ -n "${help_message-}" ]; then
        printf '%s\n' "$help_message"
      else
        printf '%s has no help text; its options are the variables set at its top\n' "$0"
      fi
      exit 0
      ;;
    option:--config) __expected="file" ;;
    option:--*) __expected=value ;;
    option:*) break ;;
    value:*) __expected=option ;;
    file:*)
      __expected=option
      [ -r "$__argument" ] || __option_error "--config $__argument: no such file, or not readable"
      # without the byte-order mark and the line ends of Windows
      # shellcheck disable=SC1090
      . <(LC_ALL=C sed $'1s/^\xef\xbb\xbf//; s/\r$//' "$__argument") ||
        __option_error "--config $__argument: its last command failed"
      ;;
  esac
done

while [ $# -gt 0 ]; do
  case $1 in
    --*=*) __option_error "$1: write --name value, with a blank, instead of --name=value" ;;
    --*) ;;
    *) break ;;
  esac
  __option_known "$1" || __option_error "unknown option $1 (see --help)"
  __target=$__variable
  [ $# -gt 1 ] || __option_error "option $1 needs a value"
  case $2 in
    --help) __option_error "option $1 needs a value, and $2 follows" ;;
    --*) if __option_known "$2"; then __option_error "option $1 needs a value, and option $2 follows"; fi ;;
  esac
  case ${!__target-}:$2 in
    true:true | true:false | false:true | false:false) ;;
    true:* | false:*) __option_error "option $1 needs true or false, and got '$2'" ;;
  esac
  # --config has been read above; its name is kept only for a script that has such a variable.
  if [ -n "${!__target+set}" ]; then
    eval "$__target=\$2"
  fi
  shift 2
done

unset __argument __expected __target __variable
unset -f __option_error __option_known
