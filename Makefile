# libmae.  `make demo` shows it at work, `make check` tests it, `make` builds,
# `make install` installs, `make fuzz MINUTES=n` fuzzes, `make study` writes
# docs/study.md.  Variables:
#   BLAS=openblas|blis    CBLAS provider
#   JSON=none             leave out checkpoints and safetensors files
#   ZLIB=none ZIP=none    leave out the IDX reader / PyTorch's files
#   ARCHIVE=none          leave out tar shards
#   JPEG=none PNG=none WEBP=none            leave out an image decoder
#   MPI=auto|ompi-c|mpich|none              MPI of the tool (pkg-config's name)
#   SANITIZE=address,undefined | thread     build with a sanitizer
#   HARDENING=none        leave out the flags against exploits
#   PREFIX, LIBDIR, MANDIR, DESTDIR, CC, CFLAGS, CPPFLAGS, LDFLAGS  as usual
#   V=1                   show whole command lines

Q   := $(if $(V),,@)
say  = $(if $(V),,@echo '  $(1)')

VERSION := 0.1.0
SONAME  := libmae.so.0

CC       ?= cc
CXX      ?= c++
CFLAGS   ?= -O3 -g
PREFIX   ?= /usr/local
LIBDIR   ?= $(PREFIX)/lib
MANDIR   ?= $(PREFIX)/share/man
BLAS     ?= openblas
JSON     ?= jansson
ZLIB     ?= zlib
ZIP      ?= libzip
ARCHIVE  ?= libarchive
JPEG     ?= libjpeg
PNG      ?= libpng
WEBP     ?= libwebp
MPI      ?= auto
SANITIZE ?=
HARDENING ?= all
PKG_CONFIG ?= pkg-config

comma := ,
B := build/$(BLAS)$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))$(TAG)

# ------------------------------------------------------------ libraries --
multiarch := $(shell $(CC) -print-multiarch 2>/dev/null)
ifeq ($(BLAS),openblas)
  BLAS_CFLAGS := $(shell $(PKG_CONFIG) --cflags openblas 2>/dev/null) -DMAE_BLAS_OPENBLAS
  BLAS_LIBS   := $(or $(shell $(PKG_CONFIG) --libs openblas 2>/dev/null),-lopenblas)
else ifeq ($(BLAS),blis)
  # Debian ships BLIS without a .pc file, in a folder per threading flavour.
  BLIS_DIR    := $(firstword $(wildcard $(foreach f,pthread openmp serial,/usr/include/$(multiarch)/blis-$(f))))
  BLAS_CFLAGS := $(if $(BLIS_DIR),-isystem $(BLIS_DIR)) -DMAE_BLAS_BLIS
  BLAS_LIBS   := $(if $(BLIS_DIR),-L$(subst /include/,/lib/,$(BLIS_DIR))) -lblis
else
  $(error BLAS is openblas or blis, not $(BLAS))
endif

# optional NAME,PACKAGE: use a library that pkg-config finds.
define optional
ifneq ($(shell $(PKG_CONFIG) --exists $(2) 2>/dev/null && echo yes),)
  OPT_CFLAGS  += $$(shell $(PKG_CONFIG) --cflags $(2)) -DMAE_HAVE_$(1)
  OPT_LIBS    += $$(shell $(PKG_CONFIG) --libs $(2))
  PC_REQUIRES += $(2)
endif
endef
$(foreach name,JSON ZLIB ZIP ARCHIVE JPEG PNG WEBP,$(eval $(call optional,$(name),$($(name)))))
# For static programs some are named alone: their own .pc files ask for others
# whose development packages theirs do not bring.
PC_ALONE    := $(filter $(ZIP) $(ARCHIVE),$(PC_REQUIRES))
PC_REQUIRES := $(filter-out $(PC_ALONE),$(PC_REQUIRES))
PC_LIBS     := $(if $(PC_ALONE),$(shell $(PKG_CONFIG) --libs $(PC_ALONE)))

# MPI is for the tool alone.
has_package = $(shell $(PKG_CONFIG) --exists $(1) 2>/dev/null && echo $(1))
ifeq ($(MPI),auto)
  MPI_PACKAGE := $(firstword $(foreach p,ompi-c mpich,$(call has_package,$p)))
else ifneq ($(MPI),none)
  MPI_PACKAGE := $(or $(call has_package,$(MPI)),$(error pkg-config knows no $(MPI)))
endif
ifneq ($(MPI_PACKAGE),)
  MPI_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(MPI_PACKAGE)) -DMAE_HAVE_MPI
  MPI_LIBS   := $(shell $(PKG_CONFIG) --libs $(MPI_PACKAGE))
endif

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
SAN  := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer)
# Against exploits of faults that are yet unknown (docs/security.md); the
# sanitizers see more without.  glibc checks sizes in optimised code alone.
ifeq ($(HARDENING)$(SANITIZE),all)
  HARDEN := -fstack-protector-strong -fstack-clash-protection
  ifneq ($(filter x86_64%,$(multiarch)),)
    HARDEN += -fcf-protection
  endif
  ifeq ($(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),)
    ifneq ($(filter -O1 -O2 -O3 -Os,$(lastword $(filter -O%,$(CFLAGS)))),)
      HARDEN += -D_FORTIFY_SOURCE=2
    endif
  endif
endif
HARDEN_LINK := -Wl,-z,relro,-z,now,-z,noexecstack
BASE_FLAGS := -std=c11 -D_GNU_SOURCE -pthread $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) $(SAN)
LIB_FLAGS  := $(BASE_FLAGS) -fPIC -fvisibility=hidden -ffp-contract=off \
              -Iinclude -Isrc \
              $(BLAS_CFLAGS) $(OPT_CFLAGS)
LIBS := $(OPT_LIBS) $(BLAS_LIBS) -lpthread -lm

# -------------------------------------------------------------- library --
# Kernels are compiled once per instruction set (src/kernels/simd.h); the
# products are contracted to FMA there, and nowhere else.
KERNELS := product product_bf16 linear layer_norm attention attention_backward attention_weights small_products add tokens patchify masked_mse mean_tokens cross_entropy drop_path resize adamw table
ISAS := portable
ifneq ($(filter x86_64%,$(multiarch)),)
  ISAS += avx2 avx512
endif
ISA_FLAGS_portable := -DMAE_VEC_BYTES=16
ISA_FLAGS_avx2     := -DMAE_VEC_BYTES=32 -mavx2 -mfma
ISA_FLAGS_avx512   := -DMAE_VEC_BYTES=64 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprfchw -mprefer-vector-width=512
KERNEL_FLAGS := -ffp-contract=fast -fno-math-errno -fno-trapping-math

KERNEL_SRC := $(KERNELS:%=src/kernels/%.c)
TOOL_SRC := $(sort $(wildcard src/tool/*.c))
SRC := $(filter-out $(KERNEL_SRC) $(TOOL_SRC),$(sort $(wildcard src/*/*.c)))
OBJ := $(SRC:src/%.c=$B/%.o) \
       $(foreach isa,$(ISAS),$(KERNELS:%=$B/kernels/%.$(isa).o))
TOOL_OBJ := $(TOOL_SRC:src/%.c=$B/%.o)

.PHONY: all check demo demo-run bench bench-scaling examples install uninstall deb symbols clean deps
.DELETE_ON_ERROR:
all: $B/libmae.a $B/$(SONAME) $B/libmae.so $B/mae

$B/%.o: src/%.c $B/flags
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(LIB_FLAGS) $(OBJ_FLAGS) -MMD -MP -c $< -o $@
$B/tool/mpi.o: OBJ_FLAGS := $(MPI_CFLAGS)

define kernel_rule
$B/kernels/%.$(1).o: src/kernels/%.c $B/flags
	@mkdir -p $$(@D)
	$$(call say,CC $$< ($(1)))
	$$(Q)$$(CC) $$(LIB_FLAGS) $$(KERNEL_FLAGS) $$(ISA_FLAGS_$(1)) -DMAE_ISA_NAME=$(1) -MMD -MP -c $$< -o $$@
endef
$(foreach isa,$(ISAS),$(eval $(call kernel_rule,$(isa))))

$B/libmae.a: $(OBJ)
	@rm -f $@
	$(call say,AR $@)
	$(Q)$(AR) rcs $@ $^

$B/$(SONAME): $(OBJ) src/libmae.map
	$(call say,LD $@)
	$(Q)$(CC) $(BASE_FLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=src/libmae.map \
	  $(if $(SAN),,-Wl,-z,defs) $(HARDEN_LINK) $(LDFLAGS) $(OBJ) $(LIBS) -o $@

$B/libmae.so: $B/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

# Rebuild when compiler or flags change.
$B/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(LIB_FLAGS) $(MPI_CFLAGS) $(LIBS)' | cmp -s - $@ || \
	  echo '$(CC) $(LIB_FLAGS) $(MPI_CFLAGS) $(LIBS)' > $@
FORCE:

# ----------------------------------------------------------------- tool --
$B/mae: $(TOOL_OBJ) $B/libmae.a
	$(call say,LD $@)
	$(Q)$(CC) $(BASE_FLAGS) -pie $(HARDEN_LINK) $(LDFLAGS) $(TOOL_OBJ) $B/libmae.a $(MPI_LIBS) $(LIBS) -o $@

-include $(OBJ:.o=.d) $(TOOL_OBJ:.o=.d)

# ------------------------------------------------- examples, tests, bench --
EXAMPLE_FLAGS = $(BASE_FLAGS) -Iinclude -Iexamples
PNG_LIBS = $(shell $(PKG_CONFIG) --libs libpng)
DEMO_SRC = examples/fashion.c examples/picture.c examples/probe.c examples/grid.c

$B/demo $B/reconstruct: $B/%: examples/%.c $(DEMO_SRC) $(wildcard examples/*.h) $B/libmae.a
	$(call say,CC $<)
	$(Q)$(CC) $(EXAMPLE_FLAGS) $(shell $(PKG_CONFIG) --cflags libpng) $< $(DEMO_SRC) $B/libmae.a $(PNG_LIBS) $(LIBS) -o $@

EXAMPLES := $(addprefix $B/examples/,features features_cpp search filter)
examples: $(EXAMPLES)
# The program of libmae(3).
$B/examples/man.c: docs/man/libmae.3
	@mkdir -p $(@D)
	$(Q)sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' $< | sed '1,/^\.Bd/d; /^\.Ed/d; s/\\e/\\/g' > $@
$B/examples/man: $B/examples/man.c include/libmae/mae.h $B/libmae.a
	$(call say,CC $<)
	$(Q)$(CC) $(BASE_FLAGS) -Iinclude $< $B/libmae.a $(LIBS) -o $@
$B/examples/%: examples/%.c include/libmae/mae.h $B/libmae.a
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(BASE_FLAGS) -Iinclude $< $B/libmae.a $(LIBS) -o $@
$B/examples/%_cpp: examples/%.cpp include/libmae/mae.h include/libmae/mae.hpp $B/libmae.a
	@mkdir -p $(@D)
	$(call say,CXX $<)
	$(Q)$(CXX) -std=c++11 -pedantic -Wall -Wextra $(CFLAGS) $(SAN) -Iinclude $< $B/libmae.a $(LIBS) -o $@

# The libraries may be installed only now, so what needs them is a new make.
demo: deps
	@$(MAKE) --no-print-directory demo-run
demo-run: $B/demo $B/reconstruct
	@mkdir -p runs
	$B/demo runs/demo

deps:
	@sh .ci/deps

TEST_SRC := $(wildcard tests/*.c)
$B/tests: $(TEST_SRC) $(wildcard tests/*.h) $B/libmae.a
	$(call say,CC $@)
	$(Q)$(CC) $(LIB_FLAGS) $(TEST_FLAGS) -Itests $(shell $(PKG_CONFIG) --cflags check) $(TEST_SRC) \
	  $B/libmae.a $(shell $(PKG_CONFIG) --libs check) $(LIBS) -ldl -o $@

# All tests, each part by a make of its own that builds on all processors.
AGAIN = $(MAKE) --no-print-directory $(if $(findstring j,$(firstword -$(MAKEFLAGS))),,-j$(shell nproc))
check: deps
	@+$(AGAIN) check-suite
	@+$(AGAIN) check-suite SANITIZE=address,undefined
	@+$(AGAIN) check-install
	@+$(AGAIN) abi-check
	@+$(AGAIN) check-warnings NO_OUTPUT_gcc=-fsyntax-only # the build says more
	@+$(AGAIN) check-hardening
	@+$(AGAIN) lint TIDY=none
	@+$(AGAIN) check-docs
	@+$(AGAIN) check-tool
	@+$(AGAIN) check-tool SANITIZE=address,undefined
	@+$(AGAIN) check-pretrain
	@+$(AGAIN) check-pretrain SANITIZE=address,undefined
	@+$(AGAIN) check-finetune
	@+$(AGAIN) check-finetune SANITIZE=address,undefined
	@+$(AGAIN) check-mpi
	@+$(AGAIN) check-mpi SANITIZE=address,undefined
	@+$(AGAIN) check-study
	@+$(AGAIN) check-fuzz
check-suite: $B/tests
	$(TEST_ENV) $B/tests
# The tool and the examples, as a user runs them.
TOOL_HELPER_SRC := $(wildcard tests/tool/*.c)
$B/tool_helper: $(TOOL_HELPER_SRC) $(wildcard tests/tool/*.h) $B/libmae.a
	$(call say,CC $@)
	$(Q)$(CC) $(BASE_FLAGS) -Iinclude $(OPT_CFLAGS) \
	  $(TOOL_HELPER_SRC) $B/libmae.a $(LIBS) -o $@
check-tool: $B/mae $B/tool_helper $(EXAMPLES)
	$(TEST_ENV) sh tests/tool.sh $B
	$(TEST_ENV) sh tests/examples.sh $B
check-pretrain: $B/mae $B/tool_helper
	$(TEST_ENV) sh tests/pretrain.sh $B $(or $(MPI_PACKAGE),none)
check-finetune: $B/mae $B/tool_helper
	$(TEST_ENV) sh tests/finetune.sh $B $(or $(MPI_PACKAGE),none)
# Several processes, started by mpirun.
$B/mpi_train: tests/mpi/train.c $B/tool/mpi.o $B/tool/say.o $B/libmae.a
	$(call say,CC $@)
	$(Q)$(CC) $(LIB_FLAGS) $< $B/tool/mpi.o $B/tool/say.o $B/libmae.a \
	  $(MPI_LIBS) $(LIBS) -o $@
check-mpi: $B/mpi_train
	$(TEST_ENV) sh tests/mpi.sh $B $(or $(MPI_PACKAGE),none)
# The reference without warnings, the manual pages in step with the tool.
check-docs: docs $B/mae $B/tool_helper $B/examples/man
	$(TEST_ENV) sh tests/docs.sh $B
docs:
	$(call say,DOC build/docs)
	$(Q)sh docs/reference.sh build/docs
check-install: all
	sh tests/install.sh
# What the flags above have come to, in the files built.
check-hardening: $B/$(SONAME) $B/mae
	sh tests/hardening.sh $B '$(HARDEN)'
# Every source without a warning by gcc and by clang, as far as they are there:
# clang looks at the text alone, gcc also at what its optimiser sees.  The
# portable kernels once more for this processor, as who adds -march=native.
LINT_SRC = $(filter-out $(KERNEL_SRC),$(wildcard src/*/*.c)) $(TEST_SRC) \
  $(TOOL_HELPER_SRC) $(wildcard examples/*.c bench/*.c tests/mpi/*.c)
LINT_FLAGS = $(LIB_FLAGS) -Itests -Iexamples $(MPI_CFLAGS) \
  $(shell $(PKG_CONFIG) --cflags check libpng)
NO_OUTPUT_gcc   := -S -o /dev/null
NO_OUTPUT_clang := -fsyntax-only
COMPILERS := $(foreach c,gcc clang,$(shell command -v $c >/dev/null && echo $c))
# warnings COMPILER,FLAGS,SOURCES
define warnings
	$(call say,CHECK $(1) $(2))
	$(Q)printf '%s\n' $(3) | xargs -P2 -n1 $(1) $(LINT_FLAGS) -Werror $(2) $(NO_OUTPUT_$(1))

endef
check-warnings:
	$(if $(COMPILERS),,$(error neither gcc nor clang is here))
	$(foreach c,$(COMPILERS),$(call warnings,$c,,$(LINT_SRC))\
	  $(foreach isa,$(ISAS),$(call warnings,$c,$(KERNEL_FLAGS) $(ISA_FLAGS_$(isa)) -DMAE_ISA_NAME=$(isa),$(KERNEL_SRC)))\
	  $(call warnings,$c,$(KERNEL_FLAGS) $(ISA_FLAGS_portable) -DMAE_ISA_NAME=portable -march=native,$(KERNEL_SRC)))
# Static analysis, by what is there: cppcheck, seconds; clang-tidy (.clang-tidy
# says with which checks), minutes: TIDY=none leaves it out.  Of cppcheck not:
#   autoVariables          a pass over images gets arguments that live as long
#   invalidPointerCast     one block of memory is laid out for several types
#   shiftTooManyBitsSigned gcc and clang say what it does
#   arrayIndexThenCheck    takes a comparison of two numbers for a bound
#   invalidFunctionArg     log of a sum in which exp(0) is one term
TIDY ?= clang-tidy
CPPCHECK_LEFT_OUT := missingIncludeSystem autoVariables invalidPointerCast \
  shiftTooManyBitsSigned arrayIndexThenCheck invalidFunctionArg
lint:
	$(Q)cppcheck -q --std=c11 --enable=warning,portability --inline-suppr \
	  --error-exitcode=1 $(CPPCHECK_LEFT_OUT:%=--suppress=%) -Iinclude -Isrc \
	  -DMAE_BLAS_OPENBLAS -DMAE_VEC_BYTES=16 -DMAE_ISA_NAME=portable \
	  $(filter -D%,$(OPT_CFLAGS)) src
ifneq ($(TIDY),none)
	$(Q)printf '%s\n' $(or $(TIDY_SRC),$(filter-out $(KERNEL_SRC),$(wildcard src/*/*.c))) | \
	  xargs -n1 sh -c '$(TIDY) --quiet "$$1" -- $(LIB_FLAGS) $(MPI_CFLAGS)' sh
endif
# The ABI against its description (tests/abi.sh), the headers by themselves,
# and a program of the first release.  abi-update: for a release.
FIRST := 0.1.0
abi-check: $B/$(SONAME) $B/abi_program $(if $(filter openblas,$(BLAS)),$B/two_copies)
	CC='$(CC)' sh tests/abi.sh $B check
	CC='$(CC)' sh tests/abi.sh $B self-test
	sh tests/header.sh
	LD_LIBRARY_PATH=$B $B/abi_program $B/abi_program.safetensors
ifeq ($(BLAS),openblas)
	cp $B/$(SONAME) $B/one.so && cp $B/$(SONAME) $B/other.so
	$B/two_copies $B/one.so $B/other.so
endif
abi-update: $B/$(SONAME)
	CC='$(CC)' sh tests/abi.sh $B update
$B/abi_program: tests/abi/program.c tests/abi/mae-$(FIRST).h $B/libmae.so
	$(call say,CC $<)
	$(Q)$(CC) -std=c99 -pedantic -Wall -Wextra $(CFLAGS) $(SAN) -Itests/abi $< \
	  -L$B -lmae -lm -o $@
$B/two_copies: tests/abi/two_copies.c include/libmae/mae.h
	$(call say,CC $<)
	$(Q)$(CC) $(BASE_FLAGS) -Iinclude $(BLAS_CFLAGS) $< $(BLAS_LIBS) -ldl -o $@
ifneq ($(SANITIZE),)
  TEST_ENV := UBSAN_OPTIONS=halt_on_error=1 TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp
endif
# Each suite under valgrind, up to half an hour each; -j2 runs two at a time.
# One that has passed runs again only when the tests change, so this can be
# broken off and started anew.  What valgrind lacks, as AVX-512, its CPUID denies
# and the library does without; so does libjpeg-turbo without its vector code,
# some of whose lanes nobody has written.
VALGRIND_SUITES = $(sort $(shell sed -n 's/.*suite_create("\(.*\)").*/\1/p' tests/*.c))
VALGRIND := JSIMD_FORCENONE=1 valgrind --error-exitcode=1 --leak-check=full \
  --num-callers=25 --errors-for-leak-kinds=definite --show-leak-kinds=definite \
  --fair-sched=yes --suppressions=tests/valgrind.supp
valgrind:
	@+$(MAKE) --no-print-directory valgrind-run
	@cat $(VALGRIND_SUITES:%=$B/valgrind/%.log) | grep -h '^[0-9]*%'
valgrind-run: $(VALGRIND_SUITES:%=$B/valgrind/%.log)
$B/valgrind/%.log: $B/tests tests/valgrind.supp
	@mkdir -p $(@D)
	$(call say,VALGRIND $*)
	$(Q)CK_FORK=no CK_RUN_SUITE=$* $(VALGRIND) $B/tests >$@.failed 2>&1 || \
	  { cat $@.failed; exit 1; }
	$(Q)mv $@.failed $@

# What the tests reach, by gcov, in a build of its own: build/…/coverage.txt.
# The kernels are optimised a little and the tests' own sums wholly, as without
# it they take minutes.
COVERAGE_MAKE = $(MAKE) --no-print-directory TAG=-coverage HARDENING=none \
  CFLAGS='-O0 -g --coverage -fprofile-update=atomic' \
  KERNEL_FLAGS='$(KERNEL_FLAGS) -O1' \
  TEST_FLAGS='-O2 -fno-profile-arcs -fno-test-coverage'
coverage: deps
	@+$(COVERAGE_MAKE) coverage-run
coverage-run: $B/tests $B/mae $B/tool_helper $(EXAMPLES) $B/mpi_train
	find $B -name '*.gcda' -delete
	@+$(MAKE) --no-print-directory check-suite
	@+$(MAKE) --no-print-directory check-tool check-pretrain check-finetune check-mpi
	sh tests/coverage.sh $B

# Fuzzing by clang's libFuzzer: a program for each parser, built apart.
#   make fuzz MINUTES=60            all of them, each for its share
#   make fuzz MINUTES=5 TARGET=png  one
FUZZ_CC ?= clang
FUZZ_MAKE = $(MAKE) --no-print-directory CC=$(FUZZ_CC) MPI=none \
  SANITIZE=fuzzer-no-link,address,undefined CFLAGS='-O1 -g'
MINUTES ?= 16
TARGET ?=
fuzz:
	@+$(FUZZ_MAKE) fuzz-run
check-fuzz:
	@+if sh tests/fuzz/able.sh $(FUZZ_CC); then $(FUZZ_MAKE) fuzz-run MINUTES=check; \
	else echo 'check-fuzz SKIPPED: $(FUZZ_CC) is missing, or lacks libFuzzer'; fi

FUZZ_FLAGS = $(LIB_FLAGS) -Itests -Itests/fuzz -MMD -MP
FUZZ_COMMON := $(wildcard tests/fuzz/common/*.c)
FUZZ_SRC := $(wildcard tests/fuzz/*.c)
FUZZ_SEEDS := $(wildcard tests/fuzz/seeds/*.c)
FUZZ_OBJ := $(patsubst tests/%.c,$B/%.o,$(FUZZ_SRC) $(FUZZ_COMMON) $(FUZZ_SEEDS))
$B/fuzz/libtool.a: $(filter-out $B/tool/main.o,$(TOOL_OBJ))
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR $@)
	$(Q)$(AR) rcs $@ $^
FUZZ_LIBS = $B/fuzz/libcommon.a $B/fuzz/libtool.a $B/libmae.a
$B/fuzz/%.o: tests/fuzz/%.c $B/flags
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(FUZZ_FLAGS) -c $< -o $@
$B/fuzz/libcommon.a: $(FUZZ_COMMON:tests/%.c=$B/%.o)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
$B/fuzz/bin/%: $B/fuzz/%.o $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(BASE_FLAGS) -fsanitize=fuzzer $(LDFLAGS) $< $(FUZZ_LIBS) $(LIBS) -o $@
$B/fuzz/inputs/made: $(FUZZ_SEEDS:tests/%.c=$B/%.o) $(FUZZ_LIBS)
	$(call say,SEEDS $(@D))
	$(Q)rm -rf $(@D)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_FLAGS) $(LDFLAGS) $(filter %.o,$^) $(FUZZ_LIBS) \
	  $(LIBS) -o $B/fuzz/make_seeds
	$(Q)OPENBLAS_NUM_THREADS=1 $B/fuzz/make_seeds $(@D)
	@touch $@
-include $(FUZZ_OBJ:.o=.d)
.SECONDARY: $(FUZZ_OBJ)
fuzz-run: $(FUZZ_SRC:tests/fuzz/%.c=$B/fuzz/bin/%) $B/fuzz/inputs/made
	sh tests/fuzz.sh $B $(MINUTES) $(TARGET)

# Time and memory beside other programs', and against sizes:
#   make bench CASES='peak train:vit_b16:16'  some cases (bench/compare.py)
#   PEERS='PyTorch eager,OpenVINO'            some peers
#   QUICK=1                                   fewer steps
#   DOC=docs/performance.md                   the tables go there, too
#   PYTHON=FILE                               the Python that has the peers
PYTHON ?= python3
BENCH := $(addprefix $B/bench/,train_step features peak)
$(BENCH): $B/bench/%: bench/%.c bench/program.c bench/program.h $B/tool/context.o $B/tool/profile.o $B/libmae.a
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(BASE_FLAGS) -Iinclude -Isrc -Ibench $< bench/program.c \
	  $B/tool/context.o $B/tool/profile.o $B/libmae.a $(LIBS) -o $@
BENCH_ARGS = --programs $B/bench $(if $(QUICK),--quick) $(if $(DOC),--doc $(DOC))
bench: $(BENCH)
	$(PYTHON) bench/compare.py $(BENCH_ARGS) $(if $(PEERS),--peers '$(PEERS)') $(CASES)
bench-scaling: $(BENCH)
	$(PYTHON) bench/scaling.py $(BENCH_ARGS) $(CASES)

# Variants of pretraining and of evaluation compared, for docs/study.md.
STUDY_SRC := $(sort $(wildcard bench/study*.c)) examples/fashion.c
$B/study: $(STUDY_SRC) $(wildcard bench/*.h examples/*.h) \
    $B/tool/text.o $B/tool/ticks.o $B/libmae.a
	$(call say,CC $@)
	$(Q)$(CC) $(BASE_FLAGS) -Iinclude -Isrc -Iexamples -Ibench $(OPT_CFLAGS) $(STUDY_SRC) \
	  $B/tool/text.o $B/tool/ticks.o $B/libmae.a $(LIBS) -o $@
study: deps
	@$(MAKE) --no-print-directory study-run
study-run: $B/study
	@mkdir -p runs
	$B/study
check-study: $B/study
	$(TEST_ENV) sh tests/study.sh $B

.PHONY: study study-run check-study
.PHONY: lint check-hardening check-warnings abi-check abi-update check-suite check-tool check-pretrain check-finetune check-mpi check-install check-docs docs
.PHONY: fuzz check-fuzz fuzz-run
.PHONY: coverage coverage-run valgrind valgrind-run
install: all
	install -d $(DESTDIR)$(PREFIX)/include/libmae $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/bin
	install -d $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man3
	install -m 644 docs/man/mae.1 $(DESTDIR)$(MANDIR)/man1/
	install -m 644 docs/man/libmae.3 $(DESTDIR)$(MANDIR)/man3/
	install -m 755 $B/mae $(DESTDIR)$(PREFIX)/bin/
	install -m 644 include/libmae/mae.h include/libmae/mae.hpp $(DESTDIR)$(PREFIX)/include/libmae/
	install -m 644 $B/libmae.a $(DESTDIR)$(LIBDIR)/
	install -m 755 $B/$(SONAME) $(DESTDIR)$(LIBDIR)/libmae.so.$(VERSION)
	ln -sf libmae.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libmae.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	  -e 's|@REQUIRES@|$(PC_REQUIRES)|' -e 's|@LIBS@|$(PC_LIBS) $(BLAS_LIBS)|' libmae.pc.in \
	  > $(DESTDIR)$(LIBDIR)/pkgconfig/libmae.pc

uninstall:
	rm -rf $(DESTDIR)$(PREFIX)/include/libmae
	rm -f $(DESTDIR)$(PREFIX)/bin/mae $(DESTDIR)$(MANDIR)/man1/mae.1 $(DESTDIR)$(MANDIR)/man3/libmae.3
	rm -f $(DESTDIR)$(LIBDIR)/libmae.a $(DESTDIR)$(LIBDIR)/libmae.so* $(DESTDIR)$(LIBDIR)/pkgconfig/libmae.pc

# New calls of the header into the Debian package's list.
symbols:
	sh debian/symbols.sh $(VERSION)
# Debian packages of HEAD, in build/deb, as lintian likes them.
DEB := build/deb/libmae-$(VERSION)
deb:
	rm -rf build/deb
	mkdir -p $(DEB)
	git archive HEAD | tar -x -C $(DEB)
	cd $(DEB) && dpkg-buildpackage -us -uc
	lintian --fail-on error,warning build/deb/*.changes

clean:
	rm -rf build
