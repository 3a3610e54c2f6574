#!/bin/sh
# What the tests take from Debian: a browser, the oldest Redis we promise to work on, promtool, curl, and envsubst for
# nginx.  Root installs the packages.  Anybody else unpacks them, with what they need, into FOLDER, which takes about a
# gigabyte; FOLDER/bin then belongs on PATH.  What is on PATH already is taken as it is.
#
# usage: debian.sh FOLDER
set -eu
folder=$1

missing=
need() { # PACKAGE PROGRAM...: one of the programs does
	package=$1; shift
	for program; do command -v "$program" > /dev/null && return; done
	missing="$missing $package"
}
need chromium chromium
need redis-tools redis-server redis-check-rdb # it holds the server under another name, and starts no service
need prometheus promtool
need gettext-base envsubst
need curl curl
[ -n "$missing" ] || exit 0

install() {
	echo "-- installing Debian packages for the tests:$missing"
	apt-get update -qq &&
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing < /dev/null > /dev/null
}

# apt does all of its work in a folder of ours: it reads what the system has, and neither locks nor writes there.
private_apt() {
	apt-get -qq -o Dir::State="$folder/apt" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$folder/apt" \
		-o Debug::NoLocking=1 "$@" < /dev/null > /dev/null
}

unpack() {
	echo "-- unpacking Debian packages for the tests into $folder:$missing"
	rm -rf "$folder"
	mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial" "$folder/tree" "$folder/bin"
	private_apt update && private_apt install -y --no-install-recommends --download-only $missing || return
	for package in "$folder"/apt/archives/*.deb; do dpkg-deb -x "$package" "$folder/tree" || return; done
	rm -rf "$folder/apt"
	fonts
	wrap chromium usr/lib/chromium/chromium
	if [ -e "$folder/tree/usr/bin/redis-check-rdb" ]; then
		ln -sf redis-check-rdb "$folder/tree/usr/bin/redis-server" # one program, which looks at its name
		wrap redis-server usr/bin/redis-server
	fi
	for program in promtool prometheus envsubst curl; do wrap $program usr/bin/$program; done
}

# Its libraries lie where the system's loader does not look, its fonts where fontconfig does not.
wrap() { # NAME PATH
	[ -e "$folder/tree/$2" ] || return 0
	libraries=$(find "$folder/tree" -name 'lib*.so*' -path '*-linux-gnu*' -printf '%h\n' | sort -u | paste -s -d :)
	cat > "$folder/bin/$1" <<-END
		#!/bin/sh
		export LD_LIBRARY_PATH='$libraries' FONTCONFIG_FILE='$folder/fonts.conf'
		exec '$folder/tree/$2' "\$@"
	END
	chmod +x "$folder/bin/$1"
}

fonts() {
	rules=$folder/tree/usr/share/fontconfig/conf.avail
	cat > "$folder/fonts.conf" <<-END
		<?xml version="1.0"?>
		<fontconfig>
		  <dir>$folder/tree/usr/share/fonts</dir>
		  <cachedir>$folder/fonts</cachedir>
		  <include ignore_missing="yes">$rules/45-latin.conf</include>
		  <include ignore_missing="yes">$rules/49-sansserif.conf</include>
		  <include ignore_missing="yes">$rules/60-latin.conf</include>
		</fontconfig>
	END
}

if ! command -v apt-get > /dev/null; then false
elif [ "$(id -u)" = 0 ]; then install
else unpack
fi || {
	rm -rf "$folder"
	echo "-- SKIPPED: the tests that need Debian's$missing; as root: apt-get install$missing"
	[ -z "${REQUIRE_ALL:-}" ]
}
