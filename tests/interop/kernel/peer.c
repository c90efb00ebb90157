/* ksctp: kernel SCTP test peer.  echo PORT | client HOST PORT ENCAP N SIZE */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <errno.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <netinet/sctp.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
static void so(int fd,int o,const void*v,socklen_t l,const char*n){
  if(setsockopt(fd,IPPROTO_SCTP,o,v,l)) printf("KS opt %s: %s\n",n,strerror(errno)); else printf("KS opt %s ok\n",n);}
static void opts(int fd){
  struct sctp_initmsg im={.sinit_num_ostreams=64,.sinit_max_instreams=64}; so(fd,SCTP_INITMSG,&im,sizeof im,"INITMSG");
  struct sctp_event_subscribe ev; memset(&ev,0,sizeof ev); ev.sctp_data_io_event=1; ev.sctp_association_event=1; ev.sctp_shutdown_event=1; ev.sctp_stream_reset_event=1; ev.sctp_peer_error_event=1;
  so(fd,SCTP_EVENTS,&ev,sizeof ev,"EVENTS");
  int one=1; so(fd,SCTP_NODELAY,&one,sizeof one,"NODELAY");
  int two=2; so(fd,SCTP_FRAGMENT_INTERLEAVE,&two,sizeof two,"FRAG_INTERLEAVE");
  struct sctp_assoc_value av={.assoc_id=0,.assoc_value=1};
  so(fd,SCTP_PR_SUPPORTED,&av,sizeof av,"PR_SUPPORTED");
  so(fd,SCTP_RECONFIG_SUPPORTED,&av,sizeof av,"RECONFIG_SUPPORTED");
  if(getenv("IDATA")) so(fd,SCTP_INTERLEAVING_SUPPORTED,&av,sizeof av,"INTERLEAVING");
  struct sctp_assoc_value rs={.assoc_id=0,.assoc_value=SCTP_ENABLE_RESET_STREAM_REQ|SCTP_ENABLE_RESET_ASSOC_REQ|SCTP_ENABLE_CHANGE_ASSOC_REQ};
  so(fd,SCTP_ENABLE_STREAM_RESET,&rs,sizeof rs,"ENABLE_STREAM_RESET");
}
static char buf[1<<20];
static char whole[64][1<<18];
static size_t have[64];
static void echo(int fd){
  /* With I-DATA pieces of messages of different streams come in turns. */
  struct sctp_sndrcvinfo si; long msgs=0,bytes=0;
  for(;;){
    int fl=0; struct sockaddr_storage ss; socklen_t sl=sizeof ss; memset(&si,0,sizeof si);
    int n=sctp_recvmsg(fd,buf,sizeof buf,(void*)&ss,&sl,&si,&fl);
    if(n<=0){ printf("KS recv end n=%d %s msgs=%ld bytes=%ld\n",n,n<0?strerror(errno):"eof",msgs,bytes); return; }
    if(fl&MSG_NOTIFICATION){ union sctp_notification*sn=(void*)buf;
      if(sn->sn_header.sn_type==SCTP_ASSOC_CHANGE) printf("KS notif assoc_change state=%d in=%d out=%d\n",sn->sn_assoc_change.sac_state,sn->sn_assoc_change.sac_inbound_streams,sn->sn_assoc_change.sac_outbound_streams);
      else printf("KS notif type=0x%x\n",sn->sn_header.sn_type);
      continue; }
    int s=si.sinfo_stream%64; size_t room=sizeof whole[s]-have[s]; if((size_t)n>room) n=room;
    memcpy(whole[s]+have[s],buf,n); have[s]+=n; if(!(fl&MSG_EOR)) continue;
    msgs++; bytes+=have[s]; if(msgs<=5) printf("KS msg len=%zu sid=%d ppid=%u flags=%x\n",have[s],si.sinfo_stream,ntohl(si.sinfo_ppid),si.sinfo_flags);
    if(sctp_sendmsg(fd,whole[s],have[s],NULL,0,si.sinfo_ppid,si.sinfo_flags&SCTP_UNORDERED,si.sinfo_stream,0,0)<0) printf("KS send %s\n",strerror(errno));
    have[s]=0;
  }
}
int main(int c,char**v){
  setvbuf(stdout,0,_IOLBF,0); signal(SIGPIPE,SIG_IGN);
  if(c>2&&!strcmp(v[1],"echo")){
    int s=socket(AF_INET,SOCK_STREAM,IPPROTO_SCTP); if(s<0){perror("KS socket");return 1;} opts(s);
    struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(atoi(v[2]))}; if(bind(s,(void*)&a,sizeof a)||listen(s,16)){perror("KS bind");return 1;}
    printf("KS listening %s\n",v[2]); signal(SIGCHLD,SIG_IGN);
    for(;;){ int f=accept(s,0,0); if(f<0){perror("KS accept");continue;} printf("KS accepted\n"); if(!fork()){close(s);echo(f);close(f);_exit(0);} close(f);} }
  if(c>6&&!strcmp(v[1],"client")){
    int s=socket(AF_INET,SOCK_STREAM,IPPROTO_SCTP); opts(s);
    struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(atoi(v[3]))}; inet_pton(AF_INET,v[2],&a.sin_addr);
    struct sctp_udpencaps e; memset(&e,0,sizeof e); {struct sockaddr_in any={.sin_family=AF_INET}; memcpy(&e.sue_address,&any,sizeof any);} e.sue_port=htons(atoi(v[4]));
    so(s,SCTP_REMOTE_UDP_ENCAPS_PORT,&e,sizeof e,"ENCAPS");
    if(connect(s,(void*)&a,sizeof a)){perror("KS connect");return 1;} printf("KS connected\n");
    int n=atoi(v[5]),sz=atoi(v[6]); struct timespec t0,t1; clock_gettime(CLOCK_MONOTONIC,&t0); long rb=0;
    for(int i=0;i<n;i++){ memset(buf,'a'+i%26,sz); if(sctp_sendmsg(s,buf,sz,0,0,htonl(53),0,i%8,0,0)<0){perror("KS send");break;}
      size_t off=0; for(;;){int fl=0;struct sctp_sndrcvinfo si;struct sockaddr_storage ss;socklen_t sl=sizeof ss;int r=sctp_recvmsg(s,buf+off,sizeof buf-off,(void*)&ss,&sl,&si,&fl); if(r<=0){printf("KS recv %d %s\n",r,strerror(errno));goto out;} if(fl&MSG_NOTIFICATION)continue; off+=r;rb+=r; if(fl&MSG_EOR)break;} }
    out: clock_gettime(CLOCK_MONOTONIC,&t1); printf("KS client done n=%d bytes=%ld %.3fs\n",n,rb,t1.tv_sec-t0.tv_sec+(t1.tv_nsec-t0.tv_nsec)/1e9); close(s); sleep(1); return 0; }
  return 2; }
