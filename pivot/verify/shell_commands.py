"""What common commands take: a written table of options, from the manuals of GNU and git.

A line reads `a,all  n,lines:  i,in-place?  j,jobs%  | a A; f i n`. Names of one option stand between commas, one
letter for `-a` and more for `--all`, the first being its name here. `:` takes a value, `?` only one that is attached,
`%` one that is attached or a number behind it. After `|`: options that act on each other, so that their order counts
(the order of an option repeated always does). Marks before the options: `+` options end at the first operand; `=`
options act on the operands behind them; `#n` `-5` is `-n 5`; `--` the mark `--` says more than where options end.

A command that is not here, or an option of one that is not in its line, is compared word by word.
"""

from dataclasses import dataclass
from functools import cache

COMMANDS = {
    "ls": "a,all A,almost-all b,escape B,ignore-backups c C d,directory F,classify? g G,no-group h,human-readable"
    " i,inode k,kibibytes l L,dereference m n,numeric-uid-gid N,literal o p q,hide-control-chars Q,quote-name"
    " r,reverse R,recursive s,size S t u U v x X Z,context 1 color? time-style: sort: format: time: w,width:"
    " I,ignore: hide: group-directories-first full-time si | a A; l C x m 1 g o n format full-time time-style; t S U"
    " v X sort; c u time; h k si; F p; b N q Q",
    "cat": "A,show-all b,number-nonblank e E,show-ends n,number s,squeeze-blank t T,show-tabs u v,show-nonprinting |"
    " b n",
    "head": "#n c,bytes: n,lines: q,quiet,silent v,verbose z,zero-terminated | c n; q v",
    "tail": "#n c,bytes: n,lines: f F follow? q,quiet,silent v,verbose s,sleep-interval: pid: retry | c n; q v; f F"
    " follow",
    "wc": "c,bytes m,chars l,lines w,words L,max-line-length",
    "grep": "#C i,ignore-case n,line-number r,recursive R,dereference-recursive l,files-with-matches"
    " L,files-without-match c,count v,invert-match w,word-regexp x,line-regexp E,extended-regexp F,fixed-strings"
    " P,perl-regexp G,basic-regexp o,only-matching q,quiet,silent s,no-messages h,no-filename H,with-filename a,text"
    " I z,null-data Z,null b,byte-offset T,initial-tab U,binary e,regexp: f,file: m,max-count: A,after-context:"
    " B,before-context: C,context: d,directories: D,devices: color? colour? include: exclude: exclude-dir:"
    " exclude-from: | E F P G; r R d; h H; l L; include exclude exclude-from exclude-dir; A B C; e f; a I U; color"
    " colour",
    "rg": "n,line-number N,no-line-number i,ignore-case s,case-sensitive S,smart-case l,files-with-matches c,count"
    " w,word-regexp v,invert-match F,fixed-strings e,regexp: g,glob: t,type: T,type-not: A,after-context:"
    " B,before-context: C,context: o,only-matching U,multiline P,pcre2 hidden files u,unrestricted no-heading"
    " no-ignore H,with-filename I,no-filename m,max-count: | n N; i s S; A B C; H I; g t T; F P; hidden u no-ignore",
    "sort": "b,ignore-leading-blanks d,dictionary-order f,ignore-case g,general-numeric-sort h,human-numeric-sort"
    " i,ignore-nonprinting M,month-sort n,numeric-sort r,reverse R,random-sort V,version-sort c C m,merge o,output:"
    " s,stable S,buffer-size: t,field-separator: k,key: u,unique z,zero-terminated | c C",
    "uniq": "c,count d,repeated D i,ignore-case u,unique f,skip-fields: s,skip-chars: w,check-chars:"
    " z,zero-terminated | d D u",
    "cut": "b,bytes: c,characters: d,delimiter: f,fields: s,only-delimited complement output-delimiter:"
    " z,zero-terminated",
    "tr": "+ c,complement C d,delete s,squeeze-repeats t,truncate-set1",
    "sed": "n,quiet,silent e,expression: f,file: E,r,regexp-extended i,in-place? s,separate z,null-data u,unbuffered"
    " l,line-length: posix debug sandbox | e f",
    "awk": "+ F,field-separator: v,assign: f,file:",
    "rm": "f,force i I r,R,recursive d,dir v,verbose one-file-system no-preserve-root preserve-root? interactive? | f"
    " i I interactive; no-preserve-root preserve-root",
    "cp": "a,archive f,force i,interactive l,link n,no-clobber p r,R,recursive s,symbolic-link t,target-directory:"
    " T,no-target-directory u,update? v,verbose x,one-file-system L,dereference P,no-dereference H d preserve?"
    " no-preserve: parents backup? b | i n u; a d p preserve no-preserve L P H; l s; b backup",
    "mv": "f,force i,interactive n,no-clobber t,target-directory: T,no-target-directory u,update? v,verbose backup? b"
    " | f i n u; b backup",
    "mkdir": "p,parents m,mode: v,verbose",
    "rmdir": "p,parents v,verbose ignore-fail-on-non-empty",
    "touch": "a c,no-create d,date: m r,reference: t: h,no-dereference | d t r",
    "ln": "s,symbolic f,force n,no-dereference i,interactive v,verbose T,no-target-directory t,target-directory:"
    " r,relative b L,logical P,physical | f i; L P",
    "chmod": "R,recursive v,verbose c,changes f,silent,quiet reference: | v c f",
    "chown": "R,recursive v,verbose c,changes f,silent,quiet h,no-dereference reference: from: | v c f",
    "du": "a,all b,bytes c,total d,max-depth: h,human-readable k m s,summarize S,separate-dirs L,dereference"
    " x,one-file-system si exclude: apparent-size B,block-size: t,threshold: time? | h k m b si B apparent-size; a s"
    " d",
    "df": "a,all h,human-readable H,si i,inodes T,print-type t,type: x,exclude-type: k P,portability l,local total"
    " B,block-size: | h H k B P",
    "tree": "a d f i L: I: P: C n D p s h u g r t F noreport dirsfirst prune filelimit: | C n; r t; s h; I P",
    "diff": "u U,unified: c e n y,side-by-side q,brief i,ignore-case w,ignore-all-space b,ignore-space-change"
    " B,ignore-blank-lines r,recursive N,new-file a,text s,report-identical-files W,width: x,exclude: color?"
    " suppress-common-lines strip-trailing-cr | u U c e n y q; w b",
    "file": "b,brief i,mime mime-type L,dereference h,no-dereference k,keep-going s,special-files z,uncompress | i"
    " mime-type; L h",
    "stat": "c,format: printf: f,file-system t,terse L,dereference | c printf t",
    "tar": "= c,create x,extract,get t,list r,append u,update z,gzip,gunzip j,bzip2 J,xz v,verbose f,file:"
    " C,directory: p,preserve-permissions k,keep-old-files h,dereference a,auto-compress O,to-stdout exclude:"
    " strip-components: zstd wildcards m,touch P,absolute-names overwrite no-same-owner | c x t r u; z j J a zstd; k"
    " overwrite; C exclude",
    "gzip": "d,decompress,uncompress k,keep f,force v,verbose c,stdout,to-stdout r,recursive q,quiet t,test l,list"
    " n,no-name N,name 1,fast 2 3 4 5 6 7 8 9,best | 1 2 3 4 5 6 7 8 9; n N; v q; d t l c",
    "gunzip": "k,keep f,force v,verbose c,stdout,to-stdout r,recursive q,quiet t,test l,list | v q; t l c",
    "unzip": "q o n l d: p j t v | o n; l p t v",
    "curl": "s,silent S,show-error L,location f,fail k,insecure i,include I,head v,verbose o,output: O,remote-name"
    " X,request: H,header: d,data,data-ascii: data-raw: data-binary: data-urlencode: json: F,form: u,user:"
    " A,user-agent: e,referer: b,cookie: c,cookie-jar: x,proxy: m,max-time: connect-timeout: retry: retry-delay:"
    " w,write-out: G,get T,upload-file: N,no-buffer 4,ipv4 6,ipv6 compressed url: C,continue-at: g,globoff"
    " create-dirs | d data-raw data-binary data-urlencode json F G; o O url; H A e b; 4 6; i I",
    "wget": "q,quiet v,verbose O,output-document: c,continue P,directory-prefix: r,recursive l,level: N,timestamping"
    " S,server-response i,input-file: t,tries: T,timeout: U,user-agent: b,background no-check-certificate"
    " show-progress p,page-requisites k,convert-links header: post-data: x,force-directories | q v show-progress;"
    " header U; O P",
    "pytest": "v,verbose q,quiet x,exitfirst s k: m: l,showlocals lf,last-failed ff,failed-first tb: maxfail:"
    " durations: cov? cov-report: capture: collect-only,co p: n,numprocesses: r: W,pythonwarnings: c: rootdir:"
    " no-header no-summary disable-warnings,disable-pytest-warnings color: timeout: import-mode: ignore: deselect:"
    " o,override-ini: | v q; x maxfail; lf ff; ignore deselect; cov cov-report; s capture; W disable-warnings",
    "pip install": "r,requirement: e,editable: U,upgrade q,quiet v,verbose user no-cache-dir no-deps pre t,target:"
    " i,index-url,pypi-url: extra-index-url: f,find-links: force-reinstall I,ignore-installed break-system-packages"
    " c,constraint: trusted-host: no-build-isolation no-input disable-pip-version-check timeout: root-user-action:"
    " no-binary: only-binary: | q v; no-binary only-binary; i extra-index-url",
    "pip uninstall": "y,yes r,requirement: q,quiet v,verbose break-system-packages | q v",
    "pip list": "o,outdated l,local user format: not-required q,quiet v,verbose disable-pip-version-check | q v",
    "pip show": "f,files q,quiet v,verbose disable-pip-version-check | q v",
    "apt-get": "y,yes,assume-yes q,quiet? no-install-recommends f,fix-broken d,download-only m,fix-missing reinstall"
    " s,simulate,dry-run,just-print no-upgrade purge auto-remove,autoremove allow-downgrades",
    "make": "B,always-make C,directory: f,file,makefile: k,keep-going S,no-keep-going n,just-print,dry-run,recon"
    " s,silent,quiet i,ignore-errors j,jobs% q,question | k S; C",
    "xargs": "+ 0,null n,max-args: I: P,max-procs: L: r,no-run-if-empty t,verbose d,delimiter: a,arg-file:"
    " s,max-chars: x,exit | n L I; 0 d",
    "tee": "a,append i,ignore-interrupts p",
    "nl": "b,body-numbering: f,footer-numbering: h,header-numbering: n,number-format: w,number-width:"
    " s,number-separator: v,starting-line-number: i,line-increment: l,join-blank-lines:",
    "jq": "r,raw-output c,compact-output n,null-input s,slurp S,sort-keys e,exit-status M,monochrome-output"
    " C,color-output a,ascii-output R,raw-input j,join-output tab indent: | M C; c tab indent; r j a",
    "rsync": "a,archive v,verbose z,compress r,recursive n,dry-run P h,human-readable delete exclude: include:"
    " progress e,rsh: l,links p,perms t,times u,update c,checksum q,quiet stats | exclude include; v q; P progress",
    "date": "u,utc,universal d,date: R,rfc-email r,reference: | d r; R",
    "uname": "a,all s,kernel-name n,nodename r,kernel-release v,kernel-version m,machine p,processor"
    " o,operating-system",
    "readlink": "f,canonicalize e,canonicalize-existing m,canonicalize-missing n,no-newline | f e m",
    "netstat": "t,tcp u,udp l,listening n,numeric p,programs a,all r,route i,interfaces s,statistics | a l; r i s",
    "ss": "t,tcp u,udp l,listening n,numeric p,processes a,all s,summary 4,ipv4 6,ipv6 H,no-header | a l; 4 6",
    "free": "h,human m,mebi g,gibi b,bytes k,kibi t,total s,seconds: c,count: | h m g b k",
    "which": "a,all",
    "git status": "-- s,short porcelain? b,branch long v,verbose ignored? u,untracked-files? | s porcelain long",
    "git add": "-- A,all u,update p,patch f,force n,dry-run v,verbose N,intent-to-add | A u",
    "git commit": "-- m,message: a,all amend no-edit q,quiet v,verbose n,no-verify s,signoff allow-empty"
    " allow-empty-message F,file: author: date: e,edit | no-edit e; q v; m F",
    "git log": "-- #n oneline n,max-count: p,patch,u stat? graph all decorate? S: G: i,regexp-ignore-case author:"
    " grep: since,after: until,before: format: pretty? reverse name-only name-status follow no-merges merges"
    " abbrev-commit first-parent | oneline format pretty abbrev-commit; merges no-merges; S G",
    "git diff": "-- stat? cached,staged name-only name-status p,patch,u U,unified: w,ignore-all-space"
    " b,ignore-space-change color? no-color quiet exit-code numstat shortstat summary no-index R word-diff? | color"
    " no-color; w b; p U",
    "git show": "-- stat? name-only name-status p,patch,u U,unified: oneline format: pretty? s,no-patch q,quiet w |"
    " oneline format pretty; p U s q stat name-only name-status",
    "git checkout": "-- b: B: f,force q,quiet d,detach ours theirs p,patch | b B; ours theirs",
    "git switch": "-- c,create: C,force-create: d,detach f,force,discard-changes q,quiet | c C",
    "git branch": "a,all r,remotes v,verbose d,delete D m,move M list show-current f,force | d D m M f; a r; v",
    "git reset": "-- hard soft mixed keep merge q,quiet p,patch | hard soft mixed keep merge",
    "git restore": "-- S,staged W,worktree s,source: p,patch q,quiet",
    "git push": "u,set-upstream f,force tags all d,delete n,dry-run v,verbose q,quiet force-with-lease? no-verify | f"
    " force-with-lease; v q",
    "git pull": "rebase? no-rebase ff-only q,quiet v,verbose no-edit | rebase no-rebase ff-only; q v",
    "git fetch": "all p,prune t,tags depth: q,quiet v,verbose unshallow f,force | q v; depth unshallow",
    "git clone": "depth: b,branch: recurse-submodules? single-branch q,quiet v,verbose n,no-checkout bare mirror"
    " no-tags | q v; bare mirror; depth single-branch",
    "git rm": "-- r f,force cached q,quiet n,dry-run",
    "git apply": "check stat R,reverse 3,3way p: index cached v,verbose reject",
    "git grep": "-- #C n,line-number i,ignore-case l,files-with-matches,name-only w,word-regexp v,invert-match"
    " E,extended-regexp F,fixed-strings P,perl-regexp e: c,count h H A: B: C: | E F P; h H; A B C; l c",
    "docker run": "+ d,detach i,interactive t,tty p,publish: P,publish-all e,env: env-file: v,volume: w,workdir: name:"
    " rm u,user: network,net: h,hostname: entrypoint: m,memory: cpus: privileged restart: l,label: mount: platform:"
    " gpus: shm-size: add-host: init | e env-file",
    "docker build": "t,tag: f,file: build-arg: no-cache q,quiet target: pull platform: progress: network:",
    "docker exec": "+ d,detach i,interactive t,tty e,env: env-file: w,workdir: u,user: privileged | e env-file",
    "docker ps": "a,all q,quiet n,last: l,latest no-trunc s,size f,filter: format: | n l; q format",
    "useradd": "m,create-home M,no-create-home s,shell: G,groups: g,gid: u,uid: d,home-dir: c,comment: r,system"
    " N,no-user-group U,user-group o,non-unique p,password: | m M; N U g",
}  # fmt: skip

# The same programme under other names.
SAME = {"pip3": "pip", "apt": "apt-get", "py.test": "pytest", "gawk": "awk", "mawk": "awk"}
WITH_SUBCOMMANDS = frozenset(("git", "pip", "pip3", "docker"))


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, and whether it takes a value (`:`, `?`, `%`, or empty for none)."""

    name: str
    takes: str


@dataclass(frozen=True, slots=True)
class Command:
    """What a command takes.

    Attributes:
        options: By every spelling, dashes included.
        groups: The group of each option whose order counts among others, by name.
        operands_end_options: Nothing behind the first operand is an option.
        options_act_behind: An option acts on the operands behind it only.
        number: The option that `-5` stands for, or empty.
        dashes_count: `--` says more than where options end.
    """

    options: dict[str, Option]
    groups: dict[str, str]
    operands_end_options: bool
    options_act_behind: bool
    number: str
    dashes_count: bool


@cache
def command(name: str) -> Command | None:
    """What a command takes, by its name, or by that of it and its sub-command; None where the table says nothing."""
    base, _, rest = name.partition(" ")
    line = COMMANDS.get(f"{SAME.get(base, base)} {rest}".strip())
    if line is None:
        return None
    listed, _, ordered = line.partition("|")
    tokens = listed.split()
    marks = {token for token in tokens if token in ("+", "=", "--") or token.startswith("#")}
    options: dict[str, Option] = {}
    for token in tokens:
        if token in marks:
            continue
        takes = token[-1] if token[-1] in ":?%" else ""
        names = token.removesuffix(takes).split(",") if takes else token.split(",")
        for spelling in names:
            options["-" + spelling if len(spelling) == 1 else "--" + spelling] = Option(names[0], takes)
    groups = {key: group.strip() for group in ordered.split(";") for key in group.split()}
    number = next((mark[1:] for mark in marks if mark.startswith("#")), "")
    return Command(options, groups, "+" in marks, "=" in marks, number, "--" in marks)
