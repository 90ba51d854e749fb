"""The addresses of the shop's pages."""

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.front),
    path("article/<int:number>/", views.article),
    path("basket/", views.basket),
]
